//! One suite of a Debian archive: its signed Release and the packages it lists.
//!
//! ```text
//! InRelease ──signature, dates, suite──► Release ──size, SHA256──► Packages.xz ──parse──► packages
//! ```
//! The layout is that of <https://wiki.debian.org/DebianRepository/Format>.

use std::io::Read;
use std::path::Path;

use jiff::Timestamp;

use super::control::{Package, packages};
use super::error::DebianError;
use super::fetch::{Expected, Fetcher};
use super::keyring::Keyring;
use super::progress::{Progress, Report};
use super::release::Release;

/// Where Debian's own packages come from.
pub const MIRROR: &str = "http://deb.debian.org/debian";
/// Where Debian's security updates come from.
pub const SECURITY_MIRROR: &str = "http://deb.debian.org/debian-security";
/// All Packages of Debian's main are some 60 MB; what is longer than this is not one.
const MAX_INDEX: u64 = 1 << 30;

/// A suite to take packages from.
#[derive(Debug, Clone)]
pub struct Suite {
    /// `trixie`, `sid`, `trixie-security`: the directory below `dists/`.
    pub name: String,
    /// Base URL of the archive, without `dists/`.
    pub mirror: String,
    /// `main` and, when wanted, others.
    pub components: Vec<String>,
    /// Who may sign it.
    pub keyring: Keyring,
    /// Use it even when its Release is past its Valid-Until.
    pub allow_expired: bool,
    /// Suites of the same rank are one: the highest version counts. A package comes from a higher rank only when the
    /// lower ones cannot give what is asked for.
    pub rank: u8,
}

impl Suite {
    /// A suite of Debian's main archive, checked with Debian's keys.
    pub fn debian(name: &str) -> Result<Self, DebianError> {
        Ok(Self {
            name: name.to_owned(),
            mirror: MIRROR.to_owned(),
            components: vec!["main".to_owned()],
            keyring: Keyring::debian()?,
            allow_expired: false,
            rank: 0,
        })
    }

    /// Where vial's root file systems are made from: trixie with its updates, and sid for what trixie cannot give.
    pub fn trixie() -> Result<Vec<Self>, DebianError> {
        let stable = Self::debian("trixie")?;
        let of = |name: &str, mirror: &str, rank| Self {
            name: name.to_owned(),
            mirror: mirror.to_owned(),
            rank,
            ..stable.clone()
        };
        Ok(vec![
            stable.clone(),
            of("trixie-updates", MIRROR, 0),
            of("trixie-security", SECURITY_MIRROR, 0),
            of("sid", MIRROR, 1),
        ])
    }

    fn url(&self, path: &str) -> String {
        format!(
            "{}/dists/{}/{path}",
            self.mirror.trim_end_matches('/'),
            self.name
        )
    }
}

/// What a suite offers, all of it verified.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) date: Timestamp,
    pub(crate) packages: Vec<Package>,
}

/// Fetches and checks a suite's lists for one architecture.
pub(crate) async fn open(
    fetcher: &Fetcher,
    suite: &Suite,
    architecture: &str,
    report: Report<'_>,
) -> Result<Index, DebianError> {
    let tell = |item: &str, done, total| {
        report(Progress {
            phase: "fetching package lists",
            item: item.to_owned(),
            done,
            total,
        })
    };
    tell(&suite.name, 0, None);
    let url = suite.url("InRelease");
    let signed = fetcher.get(&url).await.map_err(|error| match error {
        DebianError::Status { status: 404, .. } => DebianError::NoSuite {
            suite: suite.name.clone(),
            mirror: suite.mirror.clone(),
        },
        other => other,
    })?;
    let text = suite.keyring.open(&url, &signed)?;
    let release = Release::parse(&url, &text)?;
    release.check(&suite.name, &url, Timestamp::now(), suite.allow_expired)?;
    let mut all = Vec::new();
    for component in &suite.components {
        let directory = format!("{component}/binary-{architecture}");
        let path = format!("{directory}/Packages.xz");
        let listed = release
            .file(&path)
            .ok_or_else(|| DebianError::malformed(&url, format!("it does not list {path}")))?;
        let remote = if release.by_hash {
            format!("{directory}/by-hash/SHA256/{}", listed.sha256)
        } else {
            path.clone()
        };
        let expected = Expected {
            size: listed.size,
            sha256: listed.sha256.clone(),
        };
        let done = std::sync::atomic::AtomicU64::new(0);
        let on_bytes = |count| {
            let before = done.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            tell(
                &format!("{} {component}", suite.name),
                before + count,
                Some(expected.size),
            );
        };
        let name = format!("Packages-{}.xz", listed.sha256);
        let named = |error| match error {
            // By-hash names tell nobody which file it was.
            DebianError::Mismatch {
                what,
                expected,
                actual,
                ..
            } => DebianError::Mismatch {
                file: suite.url(&path),
                what,
                expected,
                actual,
            },
            other => other,
        };
        let file = fetcher
            .file(&suite.url(&remote), &name, &expected, &on_bytes)
            .await
            .map_err(named)?;
        let url = suite.url(&path);
        let parsed = tokio::task::spawn_blocking(move || packages(&url, &unxz(&file)?)).await;
        all.extend(parsed.map_err(|error| DebianError::io("read", &path)(error.into()))??);
    }
    Ok(Index {
        date: release.date,
        packages: all,
    })
}

fn unxz(path: &Path) -> Result<String, DebianError> {
    let file = std::fs::File::open(path).map_err(DebianError::io("open", path))?;
    let mut text = String::new();
    let read = xz2::read::XzDecoder::new(file)
        .take(MAX_INDEX)
        .read_to_string(&mut text);
    read.map_err(DebianError::io("decompress", path))?;
    Ok(text)
}
