//! Container images that a person brings in: read from an archive, verified, stored and unpacked once for all nodes.
//!
//! ```text
//! OCI archive, docker archive, layout ─┬► pieces (files by path) ─► understand (images) ─► ingest ─► ImageStore
//! docker, podman, containerd ─ engine ─┘
//! ```
//! [`load`] writes files only; what it returns is known to nobody before [`ImageWriter::commit`]. The engine takes the
//! images from there to the nodes.
//!
//! # Invariants
//! - Nothing unverified is unpacked under its name: blobs match their digests, layers their diff ids.
//! - Nothing of an archive is written outside of the store, whatever its names and links say.
//! - On failure the store has what it had: what was made aside is removed, here or by the next writer.

mod engine;
mod error;
mod format;
mod ingest;
mod meter;
mod name;
pub(crate) mod pieces;
mod store;
mod understand;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

pub use engine::{Engine, EngineImage, Recipe};
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
    /// An image of a container engine of this machine.
    Engine(EngineImage),
}

/// How the names of archives end: what ends so is a file that is missing, not an image.
const ARCHIVES: [&str; 7] = [".tar", ".tgz", ".gz", ".zst", ".xz", ".oci", ".tzst"];

impl Source {
    /// What a person means by `text`: `-`, what is there under that path, else an image of an engine. With `engine` it is
    /// always an image, of that one.
    ///
    /// # Errors
    /// When it cannot be the name of an image, though an engine was named.
    pub fn parse(text: &OsStr, engine: Option<Engine>) -> Result<Self> {
        let path = Path::new(text);
        let word = text.to_string_lossy();
        if engine.is_some() {
            let image = EngineImage::parse(&word, engine);
            return image.map(Self::Engine).ok_or(LoadError::BadName {
                name: word.into_owned(),
                reason: "no engine could have it",
            });
        }
        let is_path =
            word.starts_with(['/', '.']) || ARCHIVES.iter().any(|ending| word.ends_with(ending));
        Ok(match EngineImage::parse(&word, None) {
            _ if word == "-" => Self::Stdin,
            Some(image) if !is_path && !path.exists() => Self::Engine(image),
            _ => Self::Path(path.to_path_buf()),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
            Self::Engine(image) => write!(f, "{image}"),
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
    } else if let Source::Engine(wanted) = source
        && let ([image], Some(name)) = (found.as_mut_slice(), wanted.name())
    {
        // Engines may call it otherwise: podman puts `localhost/` before.
        image.names = vec![name];
    }
    if let Some(nameless) = found.iter().find(|image| image.names.is_empty()) {
        return Err(LoadError::NoName {
            archive: pieces.name().to_owned(),
            digest: nameless.short(),
        });
    }
    ingest::ingest(writer, &pieces, found, meter)
}

/// The images of several sources as one load: what is there twice counts once.
///
/// # Errors
/// When sources have different images of one name.
pub fn unite(loaded: Vec<(Source, Vec<LoadedImage>)>) -> Result<Vec<LoadedImage>> {
    let mut all: Vec<(String, LoadedImage)> = Vec::new();
    for (source, images) in loaded {
        for image in images {
            match all.iter().find(|(_, other)| other.name == image.name) {
                None => all.push((source.to_string(), image)),
                Some((_, same)) if same.config.digest == image.config.digest => {}
                Some((first, _)) => {
                    return Err(LoadError::Clash {
                        name: image.name.to_string(),
                        first: first.clone(),
                        second: source.to_string(),
                    });
                }
            }
        }
    }
    Ok(all.into_iter().map(|(_, image)| image).collect())
}
