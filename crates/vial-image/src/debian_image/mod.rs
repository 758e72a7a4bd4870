//! Container images made of Debian packages alone, from the archive's own signed lists: base images where no registry is.
//!
//! ```text
//! options ─► choose packages ─► fetch ─► root file system ─► settle ─► layer (kept) ─┬─► OCI layout ─► load, or an archive
//!            (kept for a week)  (cache)   └──────── only when there is no layer ──────┘    name, command, environment
//! ```
//! The same packages and settings give the same digest: nothing of the time, the machine or the order gets in, as far as
//! the packages' own scripts let it.
//!
//! # On disk
//! `$VIAL_HOME/cache/debian-images/`: `KEY.tar.zst` and `KEY.json` for each layer, the latest of them, where KEY is a
//! digest of all that decides it; `tmp/`, which the next build empties; `.lock`. All of it may be removed at any time.

mod make;
mod settle;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::base::ARCHITECTURE;
use crate::choice;
use crate::debian::lists::SLIM;
use crate::debian::{self, DebianError, Keyring, Lock, PackageList, Suite};
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::layout;
use crate::load::ImageName;
use crate::oci::RunConfig;
use crate::options::{Progress, Report};
use make::Build;
use settle::Settings;

/// The program that `init` puts before everything: it reaps what its children leave, and passes signals on.
const INIT: &str = "tini";

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image shall be.
#[derive(Debug, Clone)]
pub struct DebianImage {
    /// Beside a small Debian ([`SLIM`]); relations as in a Depends field.
    pub packages: Vec<String>,
    /// Debian suite: `trixie`.
    pub suite: String,
    /// Debian archive; the official one, with its updates and security updates, when `None`.
    pub mirror: Option<String>,
    /// Keys that the archive may be signed with; the embedded Debian keys when `None`.
    pub keyring: Option<PathBuf>,
    /// Accept a Release file whose time of validity is over.
    pub allow_expired: bool,
    /// Ask the archive again even when a choice of packages is kept.
    pub refresh: bool,
    /// Begin with a small init; without a command the container then waits for ever.
    pub init: bool,
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// The other arguments; `bash` when there is no entry point either.
    pub command: Vec<String>,
    /// `NAME=VALUE`, beside PATH and LANG.
    pub env: Vec<String>,
    /// `USER[:GROUP]`; root when empty.
    pub user: String,
    /// Where it starts; `/` when empty.
    pub working_dir: String,
}

impl Default for DebianImage {
    fn default() -> Self {
        Self {
            packages: Vec::new(),
            suite: "trixie".into(),
            mirror: None,
            keyring: None,
            allow_expired: false,
            refresh: false,
            init: false,
            entrypoint: Vec::new(),
            command: Vec::new(),
            env: Vec::new(),
            user: String::new(),
            working_dir: String::new(),
        }
    }
}

/// An image that was made. Another build waits while it is there.
#[derive(Debug)]
pub struct Built {
    layout: tempfile::TempDir,
    digest: Digest,
    size: u64,
    packages: usize,
    // Dropped last: the next build removes what it finds.
    _lock: File,
}

impl Built {
    /// The directory of an OCI layout with this image alone; removed when this is dropped.
    pub fn layout(&self) -> &Path {
        self.layout.path()
    }

    /// Of its manifest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Bytes of its layer, compressed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many Debian packages are in it.
    pub fn packages(&self) -> usize {
        self.packages
    }

    /// Writes it as an OCI archive, whole or not at all; to something else than a file (`/dev/stdout`) as it comes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn archive(&self, path: &Path) -> Result<()> {
        layout::write_archive(self.layout(), path)
    }
}

/// Makes an image. Needs root, and the archive for what is not in the cache.
///
/// # Errors
/// When there is no such suite or package, when the archive cannot be reached, when a package cannot be installed, when
/// the disk is full.
pub async fn build(
    home: &Path,
    name: &ImageName,
    image: &DebianImage,
    report: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Built> {
    let lock = packages(home, image, report).await?;
    let settings = Settings::new(image)?;
    let build = Build::new(home, lock, settings, image.run(), name.clone());
    let id = "debian/image";
    report(Progress::Started {
        id: id.into(),
        title: format!("make image {name}"),
    });
    // The thread that makes it outlives a future that is dropped, and the person's report does not.
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut making = tokio::task::spawn_blocking(move || build.make(&tell));
    let (built, cached) = loop {
        tokio::select! {
            made = &mut making => break made.unwrap_or(Err(Error::Cancelled))?,
            Some(progress) = told.recv() => choice::translate(id, report)(progress),
        }
    };
    report(Progress::Finished {
        id: id.into(),
        cached,
    });
    Ok(built)
}

impl DebianImage {
    fn suites(&self) -> Result<Vec<Suite>, DebianError> {
        let mut suites = vec![Suite::debian(&self.suite)?];
        let rolling = ["sid", "unstable", "experimental"].contains(&self.suite.as_str());
        if self.mirror.is_none() && !rolling {
            suites.push(Suite::debian(&format!("{}-updates", self.suite))?);
            let mut security = Suite::debian(&format!("{}-security", self.suite))?;
            security.mirror = debian::SECURITY_MIRROR.into();
            suites.push(security);
        }
        for suite in &mut suites {
            if let Some(mirror) = &self.mirror {
                suite.mirror.clone_from(mirror);
            }
            if let Some(keyring) = &self.keyring {
                suite.keyring = Keyring::from_file(keyring)?;
            }
            suite.allow_expired = self.allow_expired;
        }
        Ok(suites)
    }

    fn run(&self) -> RunConfig {
        let mut env = vec![PATH.to_owned(), "LANG=C.UTF-8".to_owned()];
        for variable in &self.env {
            let name = variable.split('=').next().unwrap_or_default();
            env.retain(|other| other.split('=').next() != Some(name));
            env.push(variable.clone());
        }
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let mut entrypoint = self.entrypoint.clone();
        let mut cmd = self.command.clone();
        if entrypoint.is_empty() && cmd.is_empty() {
            cmd = words(if self.init {
                &["sleep", "infinity"]
            } else {
                &["bash"]
            });
        }
        if self.init {
            entrypoint.splice(0..0, ["/usr/bin/tini".to_owned(), "--".to_owned()]);
        }
        RunConfig {
            env,
            entrypoint,
            cmd,
            user: self.user.clone(),
            working_dir: match self.working_dir.as_str() {
                "" => "/".to_owned(),
                directory => directory.to_owned(),
            },
            ..RunConfig::default()
        }
    }
}

/// Chooses the packages and fetches them.
async fn packages(home: &Path, image: &DebianImage, report: Report<'_>) -> Result<Lock> {
    let cache = home.join("cache/debian");
    fs::create_dir_all(&cache).at("create", &cache)?;
    let suites = image.suites()?;
    let asked = image.packages.iter().map(String::as_str);
    let init = image.init.then_some(INIT);
    let mut wanted: Vec<&str> = asked.chain(init).collect();
    wanted.sort_unstable();
    wanted.dedup();
    // What is asked for by its name is not left out.
    let mut excluded = SLIM.excluded.to_vec();
    excluded.retain(|name| !wanted.contains(name));
    wanted.splice(0..0, SLIM.wanted.iter().copied());
    let list = PackageList {
        wanted: &wanted,
        excluded: &excluded,
        ..SLIM
    };

    let id = "debian/packages";
    report(Progress::Started {
        id: id.into(),
        title: format!("choose packages of debian {}", image.suite),
    });
    let choose = async || -> Result<Lock, DebianError> {
        let tell = choice::translate(id, report);
        let mut locks = debian::lock(&suites, ARCHITECTURE, &[list], &cache, &tell).await?;
        Ok(locks.pop().expect("there is one lock for each list"))
    };
    let key = choice::key(&suites, &[list]);
    let path = cache.join(format!("image-{}.json", key.short()));
    let (mut lock, kept) = choice::make(&path, image.refresh, choose).await?;
    report(Progress::Finished {
        id: id.into(),
        cached: kept,
    });
    match fetch(&lock, &cache, report).await {
        // Archives forget old versions; a new choice helps then.
        Err(DebianError::Status { .. }) if kept => {
            report(Progress::Note {
                text: "the archive has newer packages: choosing again".into(),
            });
            lock = choice::keep(&path, choose().await?)?;
            fetch(&lock, &cache, report).await?;
        }
        fetched => fetched?,
    }
    Ok(lock)
}

async fn fetch(lock: &Lock, cache: &Path, report: Report<'_>) -> Result<(), DebianError> {
    let there = |package: &debian::LockedPackage| cache.join(package.file_name()).exists();
    if lock.packages.iter().all(there) {
        return Ok(());
    }
    let id = "debian/fetch";
    report(Progress::Started {
        id: id.into(),
        title: "fetch debian packages".into(),
    });
    let tell = choice::translate(id, report);
    debian::fetch(std::slice::from_ref(lock), cache, &tell).await?;
    report(Progress::Finished {
        id: id.into(),
        cached: false,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_follows_from_what_was_asked_for() {
        let image = |init, entrypoint: &[&str], command: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
            let image = DebianImage {
                init,
                entrypoint: words(entrypoint),
                command: words(command),
                ..DebianImage::default()
            };
            let run = image.run();
            (run.entrypoint.join(" "), run.cmd.join(" "))
        };
        let is = |entrypoint: &str, cmd: &str| (entrypoint.to_owned(), cmd.to_owned());
        assert_eq!(image(false, &[], &[]), is("", "bash"));
        assert_eq!(
            image(true, &[], &[]),
            is("/usr/bin/tini --", "sleep infinity")
        );
        assert_eq!(image(false, &["nginx"], &[]), is("nginx", ""));
        assert_eq!(
            image(true, &["nginx"], &["-g", "x"]),
            is("/usr/bin/tini -- nginx", "-g x")
        );
    }

    #[test]
    fn a_variable_of_the_person_replaces_the_one_of_its_name() {
        let image = DebianImage {
            env: vec!["LANG=de_DE.UTF-8".into(), "A=b=c".into()],
            ..DebianImage::default()
        };
        assert_eq!(image.run().env, [PATH, "LANG=de_DE.UTF-8", "A=b=c"]);
    }
}
