//! Release files: the layout of the upstream release site, below any base address.
//!
//! `BASE/v1.36.3/bin/linux/amd64/kubelet` is a program, `kubelet.sha256` beside it its digest in hexadecimal
//! (kubernetes.io, "Download Kubernetes"). A file is used only when its digest is right; what does not match is
//! removed at once.
//!
//! The real site was out of reach where this was written: it was proven against a server of the same layout on
//! 127.0.0.1 only (the tests below).

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::catalog::Module;
use super::{Built, Found};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::options::{Progress, Report};

/// The upstream release site.
pub(super) const UPSTREAM: &str = "https://dl.k8s.io";

/// How long `auto` waits for the site.
const PATIENCE: Duration = Duration::from_secs(3);

/// Is it a full version, `v1.2.3` or `v1.2.3-rc.1`?
pub(super) fn is_version(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('v') else {
        return false;
    };
    let core = rest.split_once('-').map_or(rest, |(core, _)| core);
    let numbers: Vec<_> = core.split('.').collect();
    numbers.len() == 3
        && numbers
            .iter()
            .all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        && rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

fn client() -> Result<reqwest::Client> {
    // The first crate to ask decides; it is the same provider everywhere.
    crate::install_crypto();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60))
        .build()
        .map_err(|source| Error::Fetch {
            url: UPSTREAM.into(),
            source: source.into(),
        })
}

fn address(base: &str, version: &str, file: &str) -> String {
    format!(
        "{}/{version}/bin/linux/amd64/{file}",
        base.trim_end_matches('/')
    )
}

/// Does the site answer quickly?
pub(super) async fn answers(base: &str, version: &str) -> bool {
    let Ok(client) = client() else { return false };
    let request = client
        .get(address(base, version, "kubelet.sha256"))
        .timeout(PATIENCE)
        .send();
    request
        .await
        .is_ok_and(|answer| answer.status().is_success())
}

/// Fetches the programs of `module` that a release site has.
pub(super) async fn fetch(
    module: &Module,
    base: &str,
    version: &str,
    home: &Path,
    report: Report<'_>,
) -> Result<Vec<Built>> {
    let id = "release/kubernetes".to_owned();
    report(Progress::Started {
        id: id.clone(),
        title: format!("fetch kubernetes {version} from {base}"),
    });
    let cache = home.join("cache/components/release").join(version);
    std::fs::create_dir_all(&cache).at("create", &cache)?;
    disk::require_free(&cache, 1_000_000_000)?;
    let client = client()?;
    let (mut found, mut fetched) = (Vec::new(), false);
    for program in module
        .programs
        .iter()
        .filter(|program| !program.directory.is_empty())
    {
        let url = address(base, version, program.name);
        report(Progress::Update {
            id: id.clone(),
            detail: program.name.into(),
        });
        let expected = checksum(&client, &format!("{url}.sha256")).await?;
        // Its name says what it should be; its content is looked at again.
        let path = cache.join(format!("{}-{}", program.name, &expected[..12]));
        let present = std::fs::File::open(&path)
            .and_then(Digest::of_reader)
            .is_ok_and(|(digest, _)| digest.hex() == expected);
        if !present {
            download(&client, &url, &expected, &path).await?;
            fetched = true;
        }
        found.push(Found {
            program: *program,
            file: path,
            source: format!("release: {url}"),
        });
    }
    let all = Built::all(module, found, version).await?;
    report(Progress::Finished {
        id,
        cached: !fetched,
    });
    Ok(all)
}

async fn get(client: &reqwest::Client, url: &str) -> Result<reqwest::Response> {
    let answer = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status);
    answer.map_err(|source| Error::Fetch {
        url: url.to_owned(),
        source: source.without_url().into(),
    })
}

async fn checksum(client: &reqwest::Client, url: &str) -> Result<String> {
    let text = get(client, url).await?.text().await;
    let text = text.map_err(|source| Error::Fetch {
        url: url.to_owned(),
        source: source.without_url().into(),
    })?;
    // Some sites write the file's name behind it, as sha256sum does.
    let word = text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(word);
    }
    Err(Error::Fetch {
        url: url.to_owned(),
        source: "it is not a sha256 checksum".into(),
    })
}

async fn download(
    client: &reqwest::Client,
    url: &str,
    expected: &str,
    path: &PathBuf,
) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let aside = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(directory)
        .at("create a file in", directory)?;
    let mut file = tokio::fs::File::from_std(aside.reopen().at("open", aside.path())?);
    let mut body = get(client, url).await?.bytes_stream();
    let mut hasher = Hasher::default();
    while let Some(part) = body.next().await {
        let part = part.map_err(|source| Error::Fetch {
            url: url.to_owned(),
            source: source.without_url().into(),
        })?;
        hasher.update(&part);
        file.write_all(&part).await.at("write", path)?;
    }
    file.flush().await.at("write", path)?;
    let digest = hasher.finish();
    if digest.hex() != expected {
        return Err(Error::Mismatch {
            file: url.to_owned(),
            expected: expected.to_owned(),
            actual: digest.hex().to_owned(),
        });
    }
    disk::persist(aside, path)
}

#[cfg(test)]
mod tests {
    use super::super::catalog::SUPPORTED;
    use super::*;
    use std::collections::HashMap;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt as _;

    /// A release site on 127.0.0.1; its task ends with the runtime.
    async fn site(files: HashMap<String, Vec<u8>>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/release", listener.local_addr().unwrap());
        let files = Arc::new(files);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let files = files.clone();
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    let n = socket.read(&mut request).await.unwrap();
                    let line = String::from_utf8_lossy(&request[..n]).into_owned();
                    let path = line.split(' ').nth(1).unwrap_or_default();
                    let answer = match files.get(path) {
                        Some(body) => [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).as_bytes(), body].concat(),
                        None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
                    };
                    socket.write_all(&answer).await.unwrap();
                });
            }
        });
        base
    }

    fn release() -> HashMap<String, Vec<u8>> {
        let mut files = HashMap::new();
        for program in SUPPORTED[0]
            .module
            .programs
            .iter()
            .filter(|program| !program.directory.is_empty())
        {
            let path = format!("/release/v1.36.3/bin/linux/amd64/{}", program.name);
            let body = format!("program {}", program.name).into_bytes();
            files.insert(
                format!("{path}.sha256"),
                format!("{}\n", Digest::of(&body).hex()).into_bytes(),
            );
            files.insert(path, body);
        }
        files
    }

    async fn fetch_from(files: HashMap<String, Vec<u8>>, home: &Path) -> Result<Vec<Built>> {
        let base = site(files).await;
        fetch(&SUPPORTED[0].module, &base, "v1.36.3", home, &|_| {}).await
    }

    #[tokio::test]
    async fn fetches_what_matches() {
        let home = tempfile::tempdir().unwrap();
        let built = fetch_from(release(), home.path()).await.unwrap();
        assert_eq!(built.len(), 6);
        assert_eq!(
            std::fs::read(&built[0].file).unwrap(),
            b"program kube-apiserver"
        );
        assert!(
            built[0]
                .record
                .source
                .starts_with("release: http://127.0.0.1:")
        );
    }

    #[tokio::test]
    async fn refuses_a_changed_file_and_names_it() {
        let home = tempfile::tempdir().unwrap();
        let mut files = release();
        files
            .get_mut("/release/v1.36.3/bin/linux/amd64/kubelet")
            .unwrap()[0] ^= 1;
        let error = fetch_from(files, home.path()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Mismatch { file, .. } if file.ends_with("/kubelet")),
            "{error}"
        );
        let left: Vec<_> = std::fs::read_dir(home.path().join("cache/components/release/v1.36.3"))
            .unwrap()
            .collect();
        assert!(left.iter().all(|entry| {
            !entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("kubelet")
        }));
        // Once the site is right, the next build goes on.
        fetch_from(release(), home.path()).await.unwrap();
    }

    #[tokio::test]
    async fn refuses_a_missing_or_strange_checksum() {
        let home = tempfile::tempdir().unwrap();
        let mut files = release();
        files.insert(
            "/release/v1.36.3/bin/linux/amd64/kubectl.sha256".into(),
            b"<html>".to_vec(),
        );
        let error = fetch_from(files, home.path()).await.unwrap_err();
        assert!(error.to_string().ends_with("/kubectl.sha256"), "{error}");
        let mut files = release();
        files.remove("/release/v1.36.3/bin/linux/amd64/kubectl.sha256");
        assert!(fetch_from(files, home.path()).await.is_err());
    }

    #[tokio::test]
    async fn auto_asks_whether_the_site_answers() {
        assert!(answers(&site(release()).await, "v1.36.3").await);
        assert!(!answers(&site(HashMap::new()).await, "v1.36.3").await);
        assert!(!answers("http://127.0.0.1:1", "v1.36.3").await);
    }

    #[test]
    fn versions_are_strict() {
        for good in ["v1.36.3", "v1.37.0-alpha.1"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["1.36.3", "v1.36", "v1.36.x", "v1.36.3/../..", "v1..3", ""] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
