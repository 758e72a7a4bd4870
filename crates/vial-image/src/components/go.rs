//! Builds programs from their Go modules with the machine's `go`.
//!
//! A module's files are written below `$VIAL_HOME/cache/components/src/` and built into
//! `$VIAL_HOME/cache/components/bin/KEY/`, where KEY digests all that decides the result. A finished directory is
//! renamed into place, so whatever is there is whole; Go's own build cache makes a second try after a kill quick.
//! Reproducible: no cgo, no paths (`-trimpath`), no build id, no version control stamp.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::catalog::{ASSETS, Module, Program};
use super::{Built, Found};
use crate::digest::Hasher;
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::options::{Progress, Report};

/// Bytes that a build of everything needs in Go's caches, roughly, when they are empty.
const NEEDED: u64 = 2_000_000_000;

/// The machine's Go.
pub(crate) struct Go {
    /// `go1.26.8`; `None` when there is no Go: only what is cached can be had then.
    version: Option<String>,
    cache: PathBuf,
}

impl Go {
    /// Asks the machine's `go` for its version.
    pub(crate) async fn find(home: &Path) -> Result<Self> {
        let cache = home.join("cache/components");
        std::fs::create_dir_all(cache.join("bin")).at("create", &cache)?;
        remove_leftovers(&cache)?;
        let version = match Command::new("go")
            .args(["env", "GOVERSION"])
            .stdin(Stdio::null())
            .output()
            .await
        {
            Ok(output) if output.status.success() => {
                Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
            }
            _ => None,
        };
        Ok(Self { version, cache })
    }

    /// Builds all programs of a module, or takes them from the cache.
    pub(crate) async fn build(&self, module: &Module, report: Report<'_>) -> Result<Vec<Built>> {
        let all: Vec<_> = module.programs.iter().collect();
        self.build_some(module, &all, report).await
    }

    /// Builds those programs of a module that go into container images only.
    pub(crate) async fn build_for_images(
        &self,
        module: &Module,
        report: Report<'_>,
    ) -> Result<Vec<Built>> {
        let some: Vec<_> = module
            .programs
            .iter()
            .filter(|program| program.directory.is_empty())
            .collect();
        self.build_some(module, &some, report).await
    }

    /// Builds a program that no node image has.
    pub(crate) async fn build_extra(
        &self,
        module: &Module,
        extra: &Program,
        report: Report<'_>,
    ) -> Result<Vec<Built>> {
        self.build_some(module, &[extra], report).await
    }

    async fn build_some(
        &self,
        module: &Module,
        programs: &[&Program],
        report: Report<'_>,
    ) -> Result<Vec<Built>> {
        let mut id = format!("go/{}", module.name);
        let mut title = format!("build {} {}", module.name, module.version());
        if programs.len() != module.programs.len() {
            let names: Vec<_> = programs.iter().map(|program| program.name).collect();
            id = format!("{id}/{}", names.join(","));
            title = format!("build {} {}", names.join(", "), module.version());
        }
        report(Progress::Started {
            id: id.clone(),
            title: format!("{title} from its Go module"),
        });
        let directory = self.cache.join("bin").join(self.key(module, programs));
        let cached = directory.is_dir();
        if !cached {
            self.run(module, programs, &directory).await?;
        }
        let origin = if module.upstream.is_empty() {
            "vial".to_owned()
        } else {
            format!("go: {}", module.upstream)
        };
        let found = programs
            .iter()
            .map(|program| Found {
                program: **program,
                file: directory.join(program.name),
                source: origin.clone(),
            })
            .collect();
        let built = Built::all(module, found, module.version()).await?;
        report(Progress::Finished { id, cached });
        Ok(built)
    }

    /// Digest of all that decides the result. Without a `go` to ask, what any Go built is good enough.
    fn key(&self, module: &Module, programs: &[&Program]) -> String {
        let mut hasher = Hasher::default();
        module.digest_into(&mut hasher);
        for program in programs {
            hasher.field(program.name);
        }
        let digest = hasher.finish();
        let prefix = format!("{}-{}-", module.name, digest.short());
        match &self.version {
            Some(version) => prefix + version,
            None => std::fs::read_dir(self.cache.join("bin"))
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .find(|name| name.starts_with(&prefix))
                .unwrap_or(prefix),
        }
    }

    async fn run(&self, module: &Module, programs: &[&Program], directory: &Path) -> Result<()> {
        let source = self.cache.join("src").join(module.name);
        for (name, content) in module.files {
            disk::write_atomically(&source.join(name), content.as_bytes())?;
        }
        disk::require_free(&self.cache, NEEDED)?;
        let aside = tempfile::Builder::new()
            .prefix(".tmp-")
            .tempdir_in(&self.cache)
            .at("create a directory in", &self.cache)?;
        let flags = module.linker_flags();
        let mut command = command(&source);
        command
            .args([
                "build",
                "-trimpath",
                "-buildvcs=false",
                "-mod=readonly",
                "-ldflags",
                &flags,
                "-o",
            ])
            .arg(format!("{}/", aside.path().display()))
            .args(programs.iter().map(|program| program.package));
        run(command, || format!("go build of {}", module.name)).await?;
        for program in programs {
            let built = aside.path().join(output_name(module, program));
            let wanted = aside.path().join(program.name);
            if built != wanted {
                std::fs::rename(&built, &wanted).at("rename", &built)?;
            }
        }
        copy_assets(module, &source, &aside.path().join(ASSETS)).await?;
        let aside = aside.keep();
        std::fs::set_permissions(&aside, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .at("set the mode of", &aside)?;
        match std::fs::rename(&aside, directory) {
            // Another process was quicker.
            Err(_) if directory.is_dir() => disk::remove_tree(&aside),
            result => result.at("rename to", directory),
        }
    }
}

/// `go` in a module's directory, so that nothing of the machine but Go itself decides what it does.
fn command(source: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(source)
        .envs([
            ("CGO_ENABLED", "0"),
            ("GOOS", "linux"),
            ("GOARCH", "amd64"),
            ("GOWORK", "off"),
            ("GOFLAGS", ""),
            ("GOTOOLCHAIN", "local"),
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs `go` and returns what it printed; `title` names it when it fails.
async fn run(mut command: Command, title: impl FnOnce() -> String) -> Result<String> {
    let output = command.output().await.map_err(|source| Error::NoProgram {
        program: "go".into(),
        source,
    })?;
    if !output.status.success() {
        return Err(Error::Program {
            program: title(),
            status: output.status.to_string(),
            output: last_lines(&String::from_utf8_lossy(&output.stderr), 15),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Copies a module's assets out of its upstream's source, which `go build` has verified against go.sum.
async fn copy_assets(module: &Module, source: &Path, target: &Path) -> Result<()> {
    if module.assets.is_empty() {
        return Ok(());
    }
    let mut list = command(source);
    list.args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}"])
        .arg(module.upstream);
    let upstream = run(list, || format!("go list of {}", module.upstream)).await?;
    let upstream = Path::new(upstream.trim());
    for asset in module.assets {
        let (from, to) = (upstream.join(asset), target.join(asset));
        let bytes = disk::read(&from)?;
        disk::write_atomically(&to, &bytes)?;
    }
    Ok(())
}

/// Removes what a killed build was writing; the store's lock keeps others away.
fn remove_leftovers(cache: &Path) -> Result<()> {
    for entry in std::fs::read_dir(cache).at("read", cache)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".tmp-") {
            disk::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// The file name that `go build -o DIR/` gives: the last element of the package, or the one before a major version.
fn output_name(module: &Module, program: &Program) -> String {
    if program.package == "." {
        return module.name.to_owned();
    }
    let mut parts = program.package.rsplit('/');
    let last = parts.next().unwrap_or_default();
    let is_major = last
        .strip_prefix('v')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    if is_major {
        parts.next().unwrap_or(last)
    } else {
        last
    }
    .to_owned()
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::catalog::OTHERS;
    use super::*;

    fn module(name: &str) -> &'static Module {
        OTHERS.iter().find(|module| module.name == name).unwrap()
    }

    #[test]
    fn knows_how_go_names_its_output() {
        let etcd = module("etcd");
        assert_eq!(output_name(etcd, &etcd.programs[0]), "etcd");
        assert_eq!(output_name(etcd, &etcd.programs[1]), "etcdctl");
        let containerd = module("containerd");
        assert_eq!(
            output_name(containerd, &containerd.programs[0]),
            "containerd"
        );
    }

    #[tokio::test]
    async fn builds_once_and_then_takes_it_from_the_cache() {
        let home = tempfile::tempdir().unwrap();
        let go = Go::find(home.path()).await.unwrap();
        if go.version.is_none() {
            return vial_testing::skip("there is no go");
        }
        // What a killed build left is not taken for a result.
        let leftover = home.path().join("cache/components/.tmp-x");
        std::fs::create_dir_all(&leftover).unwrap();
        let go = Go::find(home.path()).await.unwrap();
        assert!(!leftover.exists());
        let seen = std::sync::Mutex::new(Vec::new());
        let report = |progress: Progress| {
            if let Progress::Finished { cached, .. } = progress {
                seen.lock().unwrap().push(cached);
            }
        };
        let first = go.build(module("pause"), &report).await.unwrap();
        let second = go.build(module("pause"), &report).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [false, true]);
        assert_eq!(first[0].record, second[0].record);
        assert!(first[0].file.is_file());
    }
}
