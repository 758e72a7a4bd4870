//! Free space, and files written so that a crash leaves either the old or the new one.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::{Error, IoContext, Result};

/// Refuses when the file system of `path` has less than `needed` bytes free.
pub(crate) fn require_free(path: &Path, needed: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(path).at("ask the free space of", path)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        return Err(Error::NoSpace {
            path: path.to_path_buf(),
            needed,
            free,
        });
    }
    Ok(())
}

/// Replaces `path` as a whole: the new content is written aside, synced and renamed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = directory_of(path);
    std::fs::create_dir_all(directory).at("create", directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(directory)
        .at("create a file in", directory)?;
    file.write_all(bytes).at("write", path)?;
    file.as_file().sync_all().at("sync", path)?;
    persist(file, path)
}

/// Puts a finished temporary file, made in the same directory tree, at its place.
pub(crate) fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .at("set the mode of", path)?;
    file.persist(path)
        .map_err(|error| error.error)
        .at("rename a file to", path)?;
    sync_directory(directory_of(path))
}

/// The directory that a path is in: of `x` it is `.`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes renames in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|d| d.sync_all())
        .at("sync", directory)
}

/// Waits until nobody else holds the lock file `path`, then holds it until the file is closed (flock(2)).
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = lock_file(path)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).at("lock", path)?;
    Ok(file)
}

/// The same, but nobody is waited for: `None` while somebody else holds it.
pub(crate) fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = lock_file(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        locked => locked.at("lock", path).map(|()| Some(file)),
    }
}

fn lock_file(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .at("open", path)
}

/// Reads a file whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).at("read", path)
}

/// Removes a directory tree; fine when there is none.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Bytes that removing a tree frees: of files with other links none. What cannot be read counts as nothing.
pub(crate) fn usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    let own = if metadata.is_dir() || metadata.nlink() == 1 {
        metadata.blocks() * 512
    } else {
        0
    };
    let children = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + children.map(|entry| usage(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn too_little_space_names_directory_and_need() {
        let dir = tempfile::tempdir().unwrap();
        require_free(dir.path(), 1).unwrap();
        let error = require_free(dir.path(), u64::MAX).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&dir.path().display().to_string()),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("VIAL_HOME"));
    }
}
