//! A developer's own Kubernetes build: a directory of binaries, or a checkout with `_output/`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::catalog::{Module, Program};
use super::{Built, Found};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::options::{Progress, Report};

/// Where a checkout keeps what `make` and `build/run.sh make` built.
const OUTPUTS: [&str; 5] = [
    "",
    "_output/bin",
    "_output/local/bin/linux/amd64",
    "_output/dockerized/bin/linux/amd64",
    "bin",
];

fn missing(name: &str, directory: &Path, reason: &str) -> Error {
    Error::Component {
        component: name.into(),
        origin: directory.display().to_string(),
        reason: reason.into(),
    }
}

/// The directory below `directory` that has the binaries.
fn locate(directory: &Path) -> Result<PathBuf> {
    let directory = std::path::absolute(directory).at("find", directory)?;
    OUTPUTS
        .iter()
        .map(|output| directory.join(output))
        .find(|candidate| candidate.join("kubelet").is_file())
        .ok_or_else(|| {
            missing(
                "kubelet",
                &directory,
                "neither it nor its _output/bin has the file",
            )
        })
}

/// The version that the directory's kubelet tells.
pub(super) async fn version(directory: &Path) -> Result<String> {
    let kubelet = locate(directory)?.join("kubelet");
    let output = tokio::process::Command::new(&kubelet)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|source| Error::NoProgram {
            program: kubelet.display().to_string(),
            source,
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().strip_prefix("Kubernetes ") {
        Some(version) if output.status.success() => Ok(version.to_owned()),
        _ => Err(missing(
            "kubelet",
            directory,
            "`kubelet --version` does not tell its version",
        )),
    }
}

/// Takes the programs from the directory. They are copied first: a `make` that runs meanwhile must not tear a layer.
pub(super) async fn copy(
    module: &Module,
    directory: &Path,
    version: &str,
    home: &Path,
    report: Report<'_>,
) -> Result<Vec<Built>> {
    let directory = locate(directory)?;
    let id = "dir/kubernetes".to_owned();
    report(Progress::Started {
        id: id.clone(),
        title: format!("take kubernetes {version} from {}", directory.display()),
    });
    let cache = home.join("cache/components/dir");
    std::fs::create_dir_all(&cache).at("create", &cache)?;
    let source = format!("dir: {}", directory.display());
    let (programs, keep) = (module.programs, cache.clone());
    let copied = tokio::task::spawn_blocking(move || copy_files(programs, &directory, &keep));
    let files = copied.await.unwrap_or(Err(Error::Cancelled))?;
    let found = files
        .into_iter()
        .map(|(program, file)| Found {
            program,
            file,
            source: source.clone(),
        })
        .collect();
    let all = Built::all(module, found, version).await?;
    remove_others(&cache, &all);
    report(Progress::Finished { id, cached: false });
    Ok(all)
}

fn copy_files(
    programs: &[Program],
    directory: &Path,
    cache: &Path,
) -> Result<Vec<(Program, PathBuf)>> {
    let mut files = Vec::new();
    for program in programs
        .iter()
        .filter(|program| !program.directory.is_empty())
    {
        let from = directory.join(program.name);
        if !from.is_file() {
            return Err(missing(program.name, directory, "the file is not there"));
        }
        let mut aside = tempfile::Builder::new()
            .prefix(".tmp-")
            .tempfile_in(cache)
            .at("create a file in", cache)?;
        let mut file = std::fs::File::open(&from).at("open", &from)?;
        std::io::copy(&mut file, aside.as_file_mut()).at("copy", &from)?;
        let (digest, _) = std::fs::File::open(aside.path())
            .and_then(Digest::of_reader)
            .at("read", aside.path())?;
        let to = cache.join(format!("{}-{}", program.name, digest.short()));
        crate::disk::persist(aside, &to)?;
        files.push((*program, to));
    }
    Ok(files)
}

/// Old copies would add up to gigabytes in a day's work.
fn remove_others(cache: &Path, kept: &[Built]) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        if !kept.iter().any(|built| built.file == entry.path()) {
            // Only space is lost when it stays.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::SUPPORTED;
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn checkout(below: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join(below);
        std::fs::create_dir_all(&bin).unwrap();
        for program in SUPPORTED[0].module.programs {
            let path = bin.join(program.name);
            std::fs::write(&path, "#!/bin/sh\necho Kubernetes v1.37.0-alpha.1\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        dir
    }

    #[tokio::test]
    async fn understands_a_checkout() {
        for below in OUTPUTS {
            let dir = checkout(below);
            assert_eq!(version(dir.path()).await.unwrap(), "v1.37.0-alpha.1");
            let home = tempfile::tempdir().unwrap();
            let built = copy(&SUPPORTED[0].module, dir.path(), "v1", home.path(), &|_| {})
                .await
                .unwrap();
            let names: Vec<_> = built.iter().map(|b| b.record.name.as_str()).collect();
            let expected = [
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            ];
            assert_eq!(names, expected);
        }
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let dir = checkout("_output/bin");
        std::fs::remove_file(dir.path().join("_output/bin/kube-proxy")).unwrap();
        let home = tempfile::tempdir().unwrap();
        let error = copy(&SUPPORTED[0].module, dir.path(), "v1", home.path(), &|_| {})
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("cannot get kube-proxy from"),
            "{error}"
        );
        let empty = tempfile::tempdir().unwrap();
        assert!(
            version(empty.path())
                .await
                .unwrap_err()
                .to_string()
                .contains("kubelet")
        );
    }
}
