//! Writes files so that readers see the old or the new content, never a part. One that is as it shall be is left alone:
//! who watches it (a component that was brought back watches its certificates) need not read it again.
//!
//! Deliberately absent: fsync. A node lives in memory and page cache as long as its machine; after a crash of the
//! machine it is made anew.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use vial_rpc::File;

/// The mode of a file whose mode is not given.
const DEFAULT_MODE: u32 = 0o644;

/// Why a file was not written; those before it were.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("cannot write {path:?}: not an absolute path of a file without ..")]
    Path { path: String },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes all `files` in order; blocks.
pub(crate) fn write_all(files: &[File]) -> Result<(), WriteError> {
    for file in files {
        let path = PathBuf::from(&file.path);
        let upward = path.components().any(|part| part == Component::ParentDir);
        if !path.is_absolute() || upward || path.file_name().is_none() || file.path.ends_with('/') {
            return Err(WriteError::Path {
                path: file.path.clone(),
            });
        }
        if is_so(&path, file) {
            continue;
        }
        write(&path, file).map_err(|source| WriteError::Write { path, source })?;
    }
    Ok(())
}

/// Is it there with this content, owner and mode? What cannot be looked at is not.
fn is_so(path: &Path, file: &File) -> bool {
    let same = |found: fs::Metadata| {
        found.is_file()
            && found.len() == file.content.len() as u64
            && found.mode() & 0o7777 == mode(file)
            && (found.uid(), found.gid()) == (file.uid, file.gid)
    };
    fs::symlink_metadata(path).is_ok_and(same)
        && fs::read(path).is_ok_and(|content| content == file.content)
}

/// The permission bits that it shall have.
fn mode(file: &File) -> u32 {
    match file.mode {
        0 => DEFAULT_MODE,
        mode => mode & 0o7777,
    }
}

fn write(path: &Path, file: &File) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    let temporary = temporary_beside(path);
    let written = write_new(&temporary, file).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&temporary);
    }
    match written {
        // A mount point, like a file that is bound into the container, cannot be replaced (rename(2)).
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            write_in_place(path, file)
        }
        other => other,
    }
}

fn write_new(path: &Path, file: &File) -> io::Result<()> {
    let mut new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    new.write_all(&file.content)?;
    fchown(&new, Some(file.uid), Some(file.gid))?;
    // After the owner: chown(2) clears set-user-ID bits.
    new.set_permissions(fs::Permissions::from_mode(mode(file)))
}

fn write_in_place(path: &Path, file: &File) -> io::Result<()> {
    let mut old = OpenOptions::new().write(true).truncate(true).open(path)?;
    old.write_all(&file.content)
}

/// `/etc/hosts` → `/etc/.hosts.vial-7`: on the same file system, and never the same name for two writers.
fn temporary_beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let pid = std::process::id();
    path.with_file_name(format!(
        ".{name}.vial-{pid}-{}",
        NEXT.fetch_add(1, Ordering::Relaxed)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &Path, content: &str, mode: u32) -> File {
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        File {
            path: path.to_str().unwrap().into(),
            content: content.into(),
            mode,
            uid,
            gid,
        }
    }

    #[test]
    fn what_is_so_already_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        let inode = || fs::metadata(&path).unwrap().ino();
        write_all(&[file(&path, "one", 0)]).unwrap();
        let first = inode();
        write_all(&[file(&path, "one", 0o644)]).unwrap();
        assert_eq!(inode(), first);
        for (content, mode) in [("two", 0o644), ("two", 0o600)] {
            let before = inode();
            write_all(&[file(&path, content, mode)]).unwrap();
            assert_ne!(inode(), before, "{content} {mode:o}");
        }
    }

    #[test]
    fn parents_are_made_and_modes_set() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/key.pem");
        write_all(&[file(&path, "secret", 0o600)]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(
            fs::metadata(directory.path().join("a")).unwrap().mode() & 0o7777,
            0o755
        );
    }

    #[test]
    fn a_file_is_replaced_not_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        write_all(&[file(&path, "old", 0)]).unwrap();
        let reader = fs::File::open(&path).unwrap();
        write_all(&[file(&path, "new", 0o640)]).unwrap();
        assert_eq!(io::read_to_string(reader).unwrap(), "old");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing temporary is left"
        );
    }

    #[test]
    fn a_failure_leaves_nothing_and_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir_all(path.join("by-a-directory")).unwrap();
        let error = write_all(&[file(&path, "x", 0)]).unwrap_err();
        assert!(error.to_string().ends_with("/taken"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn odd_paths_are_refused() {
        for path in ["", "relative", "/", "/etc/../x", "/etc/"] {
            assert!(
                matches!(
                    write_all(&[file(Path::new(path), "", 0)]),
                    Err(WriteError::Path { .. })
                ),
                "{path}"
            );
        }
    }
}
