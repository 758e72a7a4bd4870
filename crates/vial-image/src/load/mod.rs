//! Container images that a person brings in: read from an archive, verified, stored and unpacked once for all nodes.
//!
//! ```text
//! OCI archive, docker archive, layout ─► pieces (files by path) ─► understand (images) ─► ingest ─► ImageStore
//! ```
//! [`load`] writes files only; what it returns is known to nobody before [`ImageWriter::commit`]. The engine takes the
//! images from there to the nodes.
//!
//! # Invariants
//! - Nothing unverified is unpacked under its name: blobs match their digests, layers their diff ids.
//! - Nothing of an archive is written outside of the store, whatever its names and links say.
//! - On failure the store has what it had: what was made aside is removed, here or by the next writer.

mod error;
mod format;
mod ingest;
mod meter;
mod name;
mod pieces;
mod store;
mod understand;

use std::fmt;
use std::path::PathBuf;

pub use error::{LoadError, Result};
pub use meter::Meter;
pub use name::ImageName;
pub use store::{Blob, ImageLayer, ImageStore, ImageWriter, LoadedImage};

use pieces::Pieces;

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An archive, or the directory of an OCI layout.
    Path(PathBuf),
    /// An archive on the standard input.
    Stdin,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// Reads all images of `source` that are for this machine's nodes into the store; `names` replace their own. Takes as
/// long as the disk; `meter` tells how far it is.
///
/// # Errors
/// When the source is no archive, is damaged, is for other machines or does not name its images, or there is no space.
pub fn load(
    writer: &ImageWriter,
    source: &Source,
    names: &[ImageName],
    meter: &Meter,
) -> Result<Vec<LoadedImage>> {
    let pieces = Pieces::open(source, writer.scratch("archive-")?, meter)?;
    let mut found = understand::understand(&pieces)?;
    if !names.is_empty() {
        let [image] = found.as_mut_slice() else {
            return Err(LoadError::Several {
                archive: pieces.name().to_owned(),
                count: found.len(),
            });
        };
        image.names = names.to_vec();
    }
    if let Some(nameless) = found.iter().find(|image| image.names.is_empty()) {
        return Err(LoadError::NoName {
            archive: pieces.name().to_owned(),
            digest: nameless.short(),
        });
    }
    ingest::ingest(writer, &pieces, found, meter)
}
