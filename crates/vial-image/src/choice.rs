//! Choices of Debian packages, kept below `$VIAL_HOME/cache/debian/`: a rebuild asks no archive and gives the same digest.
//!
//! ```text
//! none, or refresh asked for ─► choose ─► keep
//! old ─► choose ─► keep; the archive cannot be reached ─► the old one
//! fresh ─► the kept one; the archive has lost one of its packages ─► choose ─► keep
//! ```

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::debian::{self, DebianError, PackageList, Suite};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::Result;
use crate::options::{Progress, Report};

/// How long a choice of packages is used without asking again.
const FRESH: Duration = Duration::from_hours(7 * 24);

/// The choice that is kept at `path`, or a new one; and whether it was kept.
pub(crate) async fn make<T: Serialize + DeserializeOwned>(
    path: &Path,
    refresh: bool,
    choose: impl AsyncFnOnce() -> Result<T, DebianError>,
) -> Result<(T, bool)> {
    let kept = if refresh { None } else { read(path) };
    match kept {
        Some((kept, true)) => Ok((kept, true)),
        Some((old, false)) => match choose().await {
            Err(DebianError::Download { .. }) => Ok((old, true)),
            chosen => Ok((keep(path, chosen?)?, false)),
        },
        None => Ok((keep(path, choose().await?)?, false)),
    }
}

/// Makes it the kept one.
pub(crate) fn keep<T: Serialize>(path: &Path, choice: T) -> Result<T> {
    disk::write_atomically(path, &crate::oci::to_bytes(&choice))?;
    Ok(choice)
}

/// A kept choice, and whether it is fresh. One that cannot be read is made anew.
fn read<T: DeserializeOwned>(path: &Path) -> Option<(T, bool)> {
    let choice = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    // A clock that went back makes it fresh.
    let old = path
        .metadata()
        .ok()?
        .modified()
        .ok()?
        .elapsed()
        .is_ok_and(|age| age > FRESH);
    Some((choice, !old))
}

/// What another choice of packages could come from.
pub(crate) fn key(suites: &[Suite], lists: &[PackageList<'_>]) -> Digest {
    let mut hasher = Hasher::default();
    for suite in suites {
        hasher.field(&suite.name);
        hasher.field(&suite.mirror);
        suite
            .keyring
            .fingerprints()
            .iter()
            .for_each(|fingerprint| hasher.field(fingerprint));
    }
    for list in lists {
        for word in list.wanted.iter().chain(list.excluded).chain(list.assumed) {
            hasher.field(word);
        }
    }
    hasher.finish()
}

/// Debian's progress as a build's.
pub(crate) fn translate<'a>(
    id: &'a str,
    report: Report<'a>,
) -> impl Fn(debian::Progress) + Send + Sync + 'a {
    move |progress| {
        let detail = match progress.total {
            Some(total) if total > 1_000_000 => {
                format!(
                    "{} {} ({} of {} MB)",
                    progress.phase,
                    progress.item,
                    progress.done / 1_000_000,
                    total / 1_000_000
                )
            }
            Some(total) => format!(
                "{} {} ({} of {total})",
                progress.phase, progress.item, progress.done
            ),
            None => format!("{} {}", progress.phase, progress.item),
        };
        report(Progress::Update {
            id: id.into(),
            detail,
        });
    }
}
