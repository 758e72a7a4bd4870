//! A small Debian archive on 127.0.0.1, signed with a key made for it, whose files a test can change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use pgp::composed::{CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedPublicKey};
use pgp::types::Password;
use rand::thread_rng;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use vial_image::debian::{Keyring, Suite};

/// Of the Release, in seconds since 1970.
pub(crate) const DATE: i64 = 1_736_899_200;
const DATE_TEXT: &str = "Wed, 15 Jan 2025 00:00:00 UTC";

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Paths whose next answer ends after so many bytes.
    breaks: BTreeMap<String, usize>,
    requests: Vec<String>,
}

/// The running archive; ends with the test's runtime.
pub(crate) struct Mirror {
    url: String,
    keyring: Keyring,
    index_path: String,
    state: Arc<Mutex<State>>,
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Mirror {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// `fields` are put into the Release.
    pub(crate) async fn start_with(fields: &str) -> Self {
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id("Test Archive <test@localhost>".into());
        let key = params.build().unwrap().generate(thread_rng()).unwrap();
        let public = SignedPublicKey::from(key.clone())
            .to_armored_bytes(Default::default())
            .unwrap();

        let mut files = BTreeMap::new();
        let mut index = String::new();
        for (name, version, architecture, more) in [
            ("base", "1", "all", "Essential: yes\n"),
            ("lib", "1:2.0-1", "amd64", ""),
            ("app", "3", "amd64", "Depends: lib (>= 1:2), base\n"),
            ("unused", "4", "amd64", ""),
        ] {
            // Not real packages: these are fetched, never unpacked.
            let body = format!("!<arch>\n{name} ").repeat(1000).into_bytes();
            let file = format!(
                "pool/{name}_{}_{architecture}.deb",
                version.trim_start_matches("1:")
            );
            index += &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{more}Filename: {file}\nSize: {}\nSHA256: {}\n\n",
                body.len(),
                sha256(&body)
            );
            files.insert(format!("/debian/{file}"), body);
        }
        let mut compressed = xz2::write::XzEncoder::new(Vec::new(), 1);
        std::io::Write::write_all(&mut compressed, index.as_bytes()).unwrap();
        let compressed = compressed.finish().unwrap();
        let digest = sha256(&compressed);
        let release = format!(
            "Origin: Test\nSuite: testing\nCodename: test\nDate: {DATE_TEXT}\n{fields}Acquire-By-Hash: yes\nSHA256:\n {digest} {} main/binary-amd64/Packages.xz\n",
            compressed.len()
        );
        let signed = CleartextSignedMessage::sign(
            thread_rng(),
            &release,
            &key.primary_key,
            &Password::empty(),
        )
        .unwrap();
        files.insert(
            "/debian/dists/test/InRelease".to_owned(),
            signed.to_armored_bytes(Default::default()).unwrap(),
        );
        let index_path = format!("/debian/dists/test/main/binary-amd64/by-hash/SHA256/{digest}");
        files.insert(index_path.clone(), compressed);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/debian/", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            files,
            ..State::default()
        }));
        let served = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, served.clone()));
            }
        });
        Self {
            url,
            keyring: Keyring::parse("test", &public).unwrap(),
            index_path,
            state,
        }
    }

    pub(crate) fn suite(&self) -> Suite {
        Suite {
            name: "test".into(),
            mirror: self.url.clone(),
            components: vec!["main".into()],
            keyring: self.keyring.clone(),
            allow_expired: false,
            rank: 0,
        }
    }

    pub(crate) fn index_path(&self) -> String {
        self.index_path.clone()
    }

    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        self.state.lock().unwrap().files[path].clone()
    }

    pub(crate) fn put(&self, path: &str, content: Vec<u8>) {
        self.state
            .lock()
            .unwrap()
            .files
            .insert(path.to_owned(), content);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().unwrap().files.remove(path);
    }

    /// The next answer with this file ends after so many bytes.
    pub(crate) fn break_once(&self, path: &str, after: usize) {
        self.state
            .lock()
            .unwrap()
            .breaks
            .insert(path.to_owned(), after);
    }

    /// What was asked for since the last call: `PATH` or `PATH RANGE`.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

/// Answers one request and closes.
async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let path = head[0].split(' ').nth(1).unwrap().to_owned();
    let range = head.iter().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("range: ")
            .map(str::to_owned)
    });
    let answer = {
        let mut state = state.lock().unwrap();
        state.requests.push(
            range
                .iter()
                .fold(path.clone(), |path, range| format!("{path} {range}")),
        );
        let broken = state.breaks.remove(&path);
        match state.files.get(&path) {
            None => {
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
            }
            Some(file) => {
                let start: usize = range
                    .and_then(|range| {
                        range
                            .strip_prefix("bytes=")?
                            .strip_suffix('-')?
                            .parse()
                            .ok()
                    })
                    .unwrap_or(0);
                let start = start.min(file.len());
                let status = if start > 0 {
                    "206 Partial Content"
                } else {
                    "200 OK"
                };
                let mut answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    file.len() - start
                )
                .into_bytes();
                answer.extend(&file[start..broken.unwrap_or(file.len())]);
                answer
            }
        }
    };
    // The client may hang up early, when it has seen enough.
    let _ = stream.get_mut().write_all(&answer).await;
    let _ = stream.get_mut().shutdown().await;
}
