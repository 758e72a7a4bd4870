//! Why a tree was not packed or unpacked.

use std::io;
use std::path::{Path, PathBuf};

/// Why a tree was not packed or unpacked. What was unpacked before it stays.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file system refused.
    #[error("cannot {operation} {}", shown(path))]
    Io {
        /// `read`, `write`, `make`, …
        operation: &'static str,
        /// On the side that refused.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be read: it is damaged, or was cut off.
    #[error("cannot read the archive")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be handed on; most often because the reader went away.
    #[error("cannot write the archive")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry whose name, or the way to it, is outside of the destination.
    #[error("the archive's entry `{}` leads out of the destination", shown(name))]
    LeadsOut {
        /// The entry, as the archive calls it.
        name: PathBuf,
    },
    /// A file where a directory is, or the other way round.
    #[error("cannot replace {} {}", if *is_directory { "the directory" } else { "by a directory" }, shown(path))]
    OtherKind {
        /// What is there.
        path: PathBuf,
        /// It is a directory, and the new one is not.
        is_directory: bool,
    },
    /// A file that got shorter while it was read.
    #[error("{} changed while it was read", shown(path))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An entry of a kind that is not understood.
    #[error(
        "the archive's entry `{}` is {what}, which is not understood",
        shown(name)
    )]
    Unknown {
        /// The entry.
        name: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

impl ArchiveError {
    /// The kind of the input or output error behind it.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            // What the tar crate does not understand.
            Self::Read { source } if source.kind() == io::ErrorKind::Other => {
                io::ErrorKind::InvalidData
            }
            Self::Io { source, .. } | Self::Read { source } | Self::Write { source } => {
                source.kind()
            }
            Self::LeadsOut { .. } | Self::Unknown { .. } => io::ErrorKind::InvalidData,
            Self::OtherKind { .. } => io::ErrorKind::AlreadyExists,
            Self::Changed { .. } => io::ErrorKind::Interrupted,
        }
    }

    pub(crate) fn io<E: Into<io::Error>>(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            operation,
            path,
            source: source.into(),
        }
    }
}

/// An archive that could not be read.
pub(crate) fn read(source: io::Error) -> ArchiveError {
    ArchiveError::Read { source }
}

/// A path for people: what would move a terminal's cursor is written as an escape.
pub(crate) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
