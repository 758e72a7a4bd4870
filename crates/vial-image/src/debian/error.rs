//! What can go wrong between a Debian mirror and a root file system.
//!
//! Every error names the file, package or step it is about; the cause is only reached through `source()`.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Something that could not be done on the Debian side of a node image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DebianError {
    /// The transport failed: no connection, time-out, broken body.
    #[error("cannot download {url}")]
    Download {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The mirror answered, but not with the file.
    #[error("cannot download {url}: the mirror answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status code.
        status: u16,
    },
    /// No key of the keyring made a valid signature over the file.
    #[error("{file}: no valid signature by a key of the keyring ({reason})")]
    Signature {
        /// Which file, as a URL.
        file: String,
        /// What was wrong with each signature.
        reason: String,
    },
    /// A keyring that cannot be read or holds no usable key.
    #[error("keyring {name}: {reason}")]
    Keyring {
        /// File name of the keyring.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file's bytes are not those that were signed for.
    #[error("{file}: {what} is {actual}, but the signed index says {expected}")]
    Mismatch {
        /// Which file, as a URL or path.
        file: String,
        /// "size" or "SHA256".
        what: &'static str,
        /// What was signed.
        expected: String,
        /// What was found.
        actual: String,
    },
    /// A Release past its Valid-Until: the mirror stands still, or someone replays an old archive.
    #[error(
        "release of suite {suite} expired on {until}; allow expired releases for this suite to use it all the same"
    )]
    Expired {
        /// Suite as asked for.
        suite: String,
        /// Its Valid-Until, RFC 3339.
        until: String,
    },
    /// A Release dated in the future: this machine's clock is wrong, or the file is.
    #[error(
        "release of suite {suite} is dated {date}, which is in the future; check this machine's clock"
    )]
    Future {
        /// Suite as asked for.
        suite: String,
        /// Its Date, RFC 3339.
        date: String,
    },
    /// An index or package whose content does not follow its format.
    #[error("{file}: {reason}")]
    Malformed {
        /// Which file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An archive without that suite.
    #[error("the archive {mirror} has no suite `{suite}`")]
    NoSuite {
        /// As asked for.
        suite: String,
        /// Base URL of the archive.
        mirror: String,
    },
    /// A wanted package that there is not.
    #[error("debian {suite} has no package `{package}`")]
    NoPackage {
        /// As asked for.
        package: String,
        /// The first suite that was looked into.
        suite: String,
        /// Names that look like it, the nearest first.
        near: Vec<String>,
    },
    /// A wanted package that is no relation, as a Depends field has them.
    #[error("`{text}` is not the name of a package: {reason}")]
    BadPackage {
        /// As asked for.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A package or dependency that no suite satisfies.
    #[error("cannot satisfy {relation}, needed by {needed_by}: {reason}")]
    Unsatisfied {
        /// The relation, as Debian writes it.
        relation: String,
        /// The package that needs it, or "the package list".
        needed_by: String,
        /// What there is instead.
        reason: String,
    },
    /// Two chosen packages that cannot be installed together.
    #[error("{package} cannot be installed with {other}: it declares \"{relation}\"")]
    Conflict {
        /// The package that declares it.
        package: String,
        /// The package it is about.
        other: String,
        /// The relation, as Debian writes it.
        relation: String,
    },
    /// The dependencies pull versions to and fro without an end.
    #[error("cannot settle the versions of {packages}")]
    Unsettled {
        /// The packages that were tried last.
        packages: String,
    },
    /// A file operation on this machine.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// "create", "read", "rename".
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program in the new root file system that failed.
    #[error("{step} failed in {} ({status}):\n{output}", root.display())]
    Step {
        /// "dpkg --install of the essential packages".
        step: String,
        /// The new root.
        root: PathBuf,
        /// Exit status.
        status: String,
        /// The last lines it printed.
        output: String,
    },
    /// The chroot could not be prepared.
    #[error("cannot prepare a chroot at {}", root.display())]
    Chroot {
        /// The new root.
        root: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl DebianError {
    /// For `map_err`: an [`DebianError::Io`] of this operation and path.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source,
        }
    }

    /// A [`DebianError::Malformed`].
    pub(crate) fn malformed(file: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed {
            file: file.into(),
            reason: reason.to_string(),
        }
    }
}
