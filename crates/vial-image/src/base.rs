//! The Debian side of a node image, as a build sees it: which packages, and root file systems made of them.
//!
//! The choice of packages (the *lock*) is kept below `$VIAL_HOME/cache/debian/`, so that a rebuild asks no archive and
//! gives the same digest ([`choice`]). It is renewed after a week, or when [`BuildOptions::refresh`] is set, or when the archive no
//! longer has a package of it; an old one is good enough when the archive cannot be reached.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::choice;
use crate::debian::lists::{NGINX, NODE, TOOLBOX, VM};
use crate::debian::{self, DebianError, Lock, Suite};
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::options::{BuildOptions, Progress, Report};
use crate::sbom::DebianPackage;

pub(crate) const ARCHITECTURE: &str = "amd64";

/// Which root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a node.
    Node,
    /// QEMU and a guest kernel: what they add to the node's.
    Vm,
    /// Of the container image that people debug with.
    Toolbox,
    /// The web server: what it adds to the toolbox's.
    Nginx,
}

impl Kind {
    /// `node`, `vm`, `toolbox`, `nginx`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Vm => "vm",
            Self::Toolbox => "toolbox",
            Self::Nginx => "nginx",
        }
    }
}

/// The packages of every root file system, chosen from verified lists.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    locks: Locks,
    cache: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Locks {
    node: Lock,
    vm: Lock,
    toolbox: Lock,
    nginx: Lock,
}

impl Base {
    /// Chooses the packages and fetches those that a build with these options may need.
    pub(crate) async fn lock(
        options: &BuildOptions,
        home: &Path,
        report: Report<'_>,
    ) -> Result<Self> {
        let id = "debian/packages";
        report(Progress::Started {
            id: id.into(),
            title: format!("choose packages of debian {}", options.suite),
        });
        let cache = home.join("cache/debian");
        std::fs::create_dir_all(&cache).map_err(|source| Error::Io {
            operation: "create",
            path: cache.clone(),
            source,
        })?;
        let suites = suites(options)?;
        let key = choice::key(&suites, &[NODE, VM, TOOLBOX, NGINX]);
        let path = cache.join(format!("lock-{}.json", key.short()));
        let choosing = async || choose(&suites, &cache, id, report).await;
        let (locks, cached) = choice::make(&path, options.refresh, choosing).await?;
        let mut base = Self { locks, cache };
        report(Progress::Finished {
            id: id.into(),
            cached,
        });
        if let Err(error) = base.fetch(options, report).await {
            // Archives forget old versions; a new choice helps then.
            if !cached || !matches!(error, DebianError::Status { .. }) {
                return Err(error.into());
            }
            report(Progress::Note {
                text: "the archive has newer packages: choosing again".into(),
            });
            base.locks = choice::keep(&path, choose(&suites, &base.cache, id, report).await?)?;
            base.fetch(options, report).await?;
        }
        Ok(base)
    }

    /// Packages whose root file systems are built already are not needed any more; they are fetched all the same, from
    /// the cache: it is verified on the way.
    async fn fetch(&self, options: &BuildOptions, report: Report<'_>) -> Result<(), DebianError> {
        let id = "debian/fetch";
        let Locks {
            node,
            toolbox,
            nginx,
            ..
        } = &self.locks;
        let mut locks = vec![node.clone(), toolbox.clone(), nginx.clone()];
        if options.vm {
            locks.push(self.locks.vm.clone());
        }
        let missing = locks
            .iter()
            .flat_map(|lock| &lock.packages)
            .any(|package| !self.cache.join(package.file_name()).exists());
        if !missing {
            return Ok(());
        }
        report(Progress::Started {
            id: id.into(),
            title: "fetch debian packages".into(),
        });
        debian::fetch(&locks, &self.cache, &choice::translate(id, report)).await?;
        report(Progress::Finished {
            id: id.into(),
            cached: false,
        });
        Ok(())
    }

    fn of(&self, kind: Kind) -> &Lock {
        match kind {
            Kind::Node => &self.locks.node,
            Kind::Vm => &self.locks.vm,
            Kind::Toolbox => &self.locks.toolbox,
            Kind::Nginx => &self.locks.nginx,
        }
    }

    /// Digest of all that decides the root file system.
    pub(crate) fn inputs(&self, kind: Kind) -> Digest {
        let mut hasher = Hasher::default();
        hasher.field(kind.name());
        hasher.field(self.of(kind).digest());
        match kind {
            Kind::Node | Kind::Toolbox => {}
            Kind::Vm => hasher.field(self.of(Kind::Node).digest()),
            Kind::Nginx => hasher.field(self.of(Kind::Toolbox).digest()),
        }
        hasher.finish()
    }

    /// The version of a package in a root file system.
    pub(crate) fn version(&self, kind: Kind, package: &str) -> &str {
        let mut packages = self.of(kind).packages.iter();
        packages
            .find(|locked| locked.package == package)
            .map_or("unknown", |locked| locked.version.as_str())
    }

    /// Every package in the image, for its bill of materials.
    pub(crate) fn packages(&self, vm: bool) -> Vec<DebianPackage> {
        let kinds = [Kind::Node, Kind::Vm, Kind::Toolbox, Kind::Nginx];
        let mut packages: Vec<_> = kinds
            .into_iter()
            .filter(|kind| vm || *kind != Kind::Vm)
            .flat_map(|kind| {
                self.of(kind)
                    .packages
                    .iter()
                    .map(move |package| (kind, package))
            })
            .map(|(kind, package)| DebianPackage {
                name: package.package.clone(),
                version: package.version.clone(),
                architecture: package.architecture.clone(),
                sha256: package.sha256.clone(),
                part: kind.name(),
            })
            .collect();
        packages.sort();
        packages
    }

    /// Builds a root file system in `root`; blocking. `lower` is the root file system that [`Kind::Vm`] and [`Kind::Nginx`]
    /// give the difference to.
    pub(crate) fn build(&self, kind: Kind, root: &Path, lower: Option<&Path>) -> Result<()> {
        let quiet = |_| {};
        match lower {
            Some(lower) => {
                debian::rootfs::build_layer(self.of(kind), lower, &self.cache, root, &quiet)?
            }
            None => debian::rootfs::build(self.of(kind), &self.cache, root, &quiet)?,
        }
        Ok(())
    }
}

impl From<DebianError> for Error {
    fn from(error: DebianError) -> Self {
        Self::Debian(error.into())
    }
}

async fn choose(
    suites: &[Suite],
    cache: &Path,
    id: &str,
    report: Report<'_>,
) -> Result<Locks, DebianError> {
    let tell = choice::translate(id, report);
    let mut layered = debian::lock(suites, ARCHITECTURE, &[NODE, VM], cache, &tell)
        .await?
        .into_iter();
    let mut containers = debian::lock(suites, ARCHITECTURE, &[TOOLBOX, NGINX], cache, &tell)
        .await?
        .into_iter();
    let mut both = || (layered.next(), containers.next());
    match (both(), both()) {
        ((Some(node), Some(toolbox)), (Some(vm), Some(nginx))) => Ok(Locks {
            node,
            vm,
            toolbox,
            nginx,
        }),
        _ => unreachable!("there is one lock for each list"),
    }
}

/// Debian's suite, its security updates, and sid for what the suite has too old. Another mirror is asked for the first
/// and the last only: archives are mirrored without the security updates, which come from their own host.
fn suites(options: &BuildOptions) -> Result<Vec<Suite>, DebianError> {
    let mut suites = vec![Suite::debian(&options.suite)?];
    if options.mirror.is_none() {
        let mut security = Suite::debian(&format!("{}-security", options.suite))?;
        security.mirror = debian::SECURITY_MIRROR.into();
        suites.push(security);
    }
    if options.suite != "sid" {
        let mut sid = Suite::debian("sid")?;
        sid.rank = 1;
        // It is only asked for what is pinned to a minimal version: an old sid, if signed, is as good as a new one.
        sid.allow_expired = true;
        suites.push(sid);
    }
    for suite in &mut suites {
        if let Some(mirror) = &options.mirror {
            suite.mirror.clone_from(mirror);
        }
        if let Some(keyring) = &options.keyring {
            suite.keyring = debian::Keyring::from_file(keyring)?;
        }
        suite.allow_expired |= options.allow_expired;
    }
    Ok(suites)
}
