//! What can go wrong with a person's kubeconfig.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use crate::error::Code;

/// Shorthand.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A kubeconfig that could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// `read`, `write`, …
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a kubeconfig.
    #[error("kubeconfig {} cannot be understood and was left as it is: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it, with line and column where there is one.
        reason: String,
    },
    /// Somebody else holds the lock, or died with it.
    #[error("kubeconfig {} is locked by {}", path.display(), lock.display())]
    Locked {
        /// Which.
        path: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(super) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }

    /// The exit code, where it does not follow from the cause.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::File { .. } => None,
            Self::Damaged { .. } => Some(Code::BadInput),
            Self::Locked { .. } => Some(Code::Conflict),
        }
    }

    /// The next step.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => None,
            Self::Damaged { .. } => Some(
                "mend or move that file, point KUBECONFIG to another one, or use `--no-kubeconfig`"
                    .into(),
            ),
            Self::Locked { lock, .. } => Some(format!(
                "when no kubectl is at work on it, remove {}",
                lock.display()
            )),
        }
    }

    /// Its cause.
    pub(crate) fn into_source(self) -> Box<dyn StdError + Send + Sync> {
        match self {
            Self::File { source, .. } => Box::new(source),
            Self::Damaged { reason, .. } => reason.into(),
            Self::Locked { lock, .. } => lock.display().to_string().into(),
        }
    }
}
