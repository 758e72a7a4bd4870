//! Locks: exactly which packages a layer is made of, and fetching them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::archive::{self, Suite};
use super::error::DebianError;
use super::fetch::{Expected, Fetcher, hex};
use super::lists::PackageList;
use super::progress::{Progress, Report};
use super::resolve::{Request, Universe, resolve};

/// Downloads at a time: more only makes mirrors angry.
const PARALLEL: usize = 4;

/// The packages of one layer, in the order they are installed in. With the same lock, the same tree is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// Debian's name: `amd64`.
    pub architecture: String,
    /// Seconds since 1970 of the first suite's Release: SOURCE_DATE_EPOCH of the tree.
    pub epoch: i64,
    /// Names that were taken as installed.
    pub assumed: Vec<String>,
    /// Each after those it depends on, as far as there is such an order.
    pub packages: Vec<LockedPackage>,
}

/// One package, pinned by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedPackage {
    /// Its name.
    pub package: String,
    /// As Debian writes it.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Below the mirror.
    pub filename: String,
    /// The suite that it was taken from.
    pub suite: String,
    /// Base URL of that suite's archive.
    pub mirror: String,
    /// The Essential packages need it.
    pub bootstrap: bool,
}

impl LockedPackage {
    /// Its file's name in the cache.
    pub fn file_name(&self) -> String {
        format!(
            "{}_{}_{}.deb",
            self.package,
            self.version.replace(':', "%3a"),
            self.architecture
        )
    }

    pub(crate) fn expected(&self) -> Expected {
        Expected {
            size: self.size,
            sha256: self.sha256.clone(),
        }
    }
}

impl Lock {
    /// A digest of all that shapes the tree, as lower-case hexadecimal of a SHA-256: a key for caches. Where a package was
    /// fetched from is not part of it.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!(
            "{} {} {}\n",
            self.architecture,
            self.epoch,
            self.assumed.join(",")
        ));
        for package in &self.packages {
            hash.update(format!(
                "{} {} {}\n",
                package.sha256,
                package.file_name(),
                package.bootstrap
            ));
        }
        hex(&hash.finalize())
    }

    /// Bytes to download when nothing is cached.
    pub fn download_size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }
}

/// Asks the archives and pins the packages of each list; a list adds to those before it (a base, then layers on top).
///
/// The first suite is the base: its Essential packages are taken, and its date is the tree's.
pub async fn lock(
    suites: &[Suite],
    architecture: &str,
    lists: &[PackageList<'_>],
    cache: &Path,
    report: Report<'_>,
) -> Result<Vec<Lock>, DebianError> {
    let fetcher = Fetcher::open(cache).await?;
    let mut universe = Universe::default();
    let mut epoch = None;
    for (number, suite) in suites.iter().enumerate() {
        let index = archive::open(&fetcher, suite, architecture, report).await?;
        epoch.get_or_insert(index.date.as_second());
        universe.add(suite.rank, number, index.packages);
    }
    for wanted in lists.iter().flat_map(|list| list.wanted) {
        universe.require(wanted, suites.first().map_or("", |suite| &suite.name))?;
    }
    let epoch = epoch.ok_or_else(|| DebianError::malformed("the list of suites", "it is empty"))?;
    let mut locks = Vec::new();
    let mut installed = Vec::new();
    for list in lists {
        report(Progress {
            phase: "resolving packages",
            item: list.name.to_owned(),
            done: 0,
            total: None,
        });
        let request = Request {
            wanted: list.wanted,
            essential: installed.is_empty(),
            excluded: list.excluded,
            assumed: list.assumed,
            installed: &installed,
        };
        let solution = resolve(&universe, &request)?;
        let packages = solution.iter().map(|chosen| {
            let (package, suite) = (
                universe.package(chosen.id),
                &suites[universe.suite(chosen.id)],
            );
            LockedPackage {
                package: package.name.clone(),
                version: package.version.to_string(),
                architecture: package.architecture.clone(),
                sha256: package.sha256.clone(),
                size: package.size,
                filename: package.filename.clone(),
                suite: suite.name.clone(),
                mirror: suite.mirror.trim_end_matches('/').to_owned(),
                bootstrap: chosen.bootstrap,
            }
        });
        let assumed = list.assumed.iter().map(|name| (*name).to_owned()).collect();
        locks.push(Lock {
            architecture: architecture.to_owned(),
            epoch,
            assumed,
            packages: packages.collect(),
        });
        installed.extend(solution.iter().map(|chosen| chosen.id));
    }
    Ok(locks)
}

/// Brings every package of the locks into the cache, verified; what is there already is verified again.
///
/// Killed at any point, it goes on from there the next time.
pub async fn fetch(
    locks: &[Lock],
    cache: &Path,
    report: Report<'_>,
) -> Result<Vec<PathBuf>, DebianError> {
    let fetcher = Fetcher::open(cache).await?;
    let mut seen = BTreeSet::new();
    let packages: Vec<_> = locks
        .iter()
        .flat_map(|lock| &lock.packages)
        .filter(|package| seen.insert(&package.sha256))
        .collect();
    let total = packages.iter().map(|package| package.size).sum();
    let done = AtomicU64::new(0);
    let downloads = packages.into_iter().map(|package| {
        let (fetcher, done) = (&fetcher, &done);
        async move {
            let url = format!("{}/{}", package.mirror, package.filename);
            let on_bytes = |count| {
                let before = done.fetch_add(count, Ordering::Relaxed);
                report(Progress {
                    phase: "fetching packages",
                    item: package.package.clone(),
                    done: (before + count).min(total),
                    total: Some(total),
                });
            };
            fetcher
                .file(&url, &package.file_name(), &package.expected(), &on_bytes)
                .await
        }
    });
    futures::stream::iter(downloads)
        .buffered(PARALLEL)
        .try_collect()
        .await
}
