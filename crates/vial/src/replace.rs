//! Replaces files of a person: whole and atomically, through links, with their owner.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// User and group of what is made for somebody else; `None`: whoever runs vial.
pub(crate) type Owner = Option<(u32, u32)>;

/// Writes `path` whole and atomically, mode 0600; a symbolic link stays one and the file it names is replaced.
///
/// An existing file keeps its owner, a new one gets `owner`.
///
/// # Errors
/// When the file cannot be read, or its directory not be written.
pub(crate) fn replace(path: &Path, bytes: &[u8], owner: Owner) -> io::Result<()> {
    let target = follow(path)?;
    let owner = match fs::metadata(&target) {
        Ok(metadata) => Some((metadata.uid(), metadata.gid())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => owner,
        Err(error) => return Err(error),
    };
    let directory = target
        .parent()
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut aside = tempfile::Builder::new()
        .prefix(".vial-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    aside.write_all(bytes)?;
    if let Some((uid, gid)) = owner {
        let made = aside.as_file().metadata()?;
        if (made.uid(), made.gid()) != (uid, gid) {
            std::os::unix::fs::fchown(aside.as_file(), Some(uid), Some(gid))?;
        }
    }
    aside.as_file().sync_all()?;
    aside.persist(&target)?;
    Ok(())
}

/// Removes the file that a link names as well as the link.
///
/// # Errors
/// When something is there that cannot be removed.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let target = follow(path)?;
    for path in [target.as_path(), path] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What a chain of symbolic links ends at, be it there or not.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    // As many links as the kernel follows (path_resolution(7)).
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}
