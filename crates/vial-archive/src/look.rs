//! What is at a path, before anything is copied.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Missing,
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that was not followed, or that leads to nothing.
    Link,
    /// A device, a fifo, a socket.
    Special,
}

/// What was seen at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What is there.
    pub kind: Kind,
    /// The path with all links on the way followed, and the last one if that was asked for; as it was given when there
    /// is nothing.
    pub real: PathBuf,
    /// Whether the directory it is in exists.
    pub parent: bool,
}

/// Looks at an absolute `path`. A link at its end is followed when `follow` says so, or when the path ends with `/` or
/// `/.`, as for every other program (`path_resolution(7)`).
///
/// # Errors
/// When a directory on the way cannot be searched.
pub fn look(path: &Path, follow: bool) -> io::Result<Seen> {
    let bytes = path.as_os_str().as_bytes();
    let follow = follow || bytes.ends_with(b"/") || bytes.ends_with(b"/.");
    let found = if follow {
        fs::metadata(path).or_else(|error| match error.kind() {
            // A link to nothing is told apart from nothing.
            io::ErrorKind::NotFound => fs::symlink_metadata(path),
            _ => Err(error),
        })
    } else {
        fs::symlink_metadata(path)
    };
    let metadata = match found {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Seen {
                kind: Kind::Missing,
                real: path.into(),
                parent: parent(path).is_dir(),
            });
        }
        Err(error) => return Err(error),
    };
    let kind = match metadata.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => Kind::Link,
        _ => Kind::Special,
    };
    let real = match (kind, path.file_name()) {
        (Kind::Link, Some(name)) => fs::canonicalize(parent(path))?.join(name),
        (Kind::Link, None) => path.to_path_buf(),
        _ => match (follow, path.file_name()) {
            (false, Some(name)) => fs::canonicalize(parent(path))?.join(name),
            _ => fs::canonicalize(path)?,
        },
    };
    Ok(Seen {
        kind,
        real,
        parent: true,
    })
}

/// The directory that `path` is in.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}
