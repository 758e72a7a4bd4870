//! A directory tree whose files are links to those of another one.
//!
//! Directories are made anew with mode, owner, times and extended attributes (`trusted.overlay.*` of an unpacked
//! snapshot among them); all else is linked, except the files that will be written in place, which are copied. Hard links
//! ([`clone`]) make two trees of equal rights; between different file systems everything is copied instead. Symbolic
//! links ([`shadow`]) lead to a tree on another file system, which must stay where it is.
//!
//! A tree that goes on being written to in places nobody can list beforehand is [`replicate`]d: each file is judged.
//!
//! # On failure
//! The tree is made beside its target and renamed at the end: it appears whole or not at all. What an interrupted run
//! left beside it is removed by the next one.

mod copy;
mod replicate;

use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};

pub use copy::{copy_attributes, copy_file};
pub use replicate::{Share, replicate};

use crate::{During, SysError};

/// Clones `source` to `target`; left alone when `target` exists. Files whose path below `source` ends with one of
/// `copy` (whole components: `meta.db`, `db/meta.db`) become real copies.
///
/// # Errors
/// When there is no space. Between different file systems everything is copied.
pub fn clone(source: &Path, target: &Path, copy: &[impl AsRef<Path>]) -> Result<(), SysError> {
    make(source, target, |from, kind| {
        if kind.is_file() && copy.iter().any(|suffix| from.ends_with(suffix)) {
            Way::Copy
        } else {
            Way::HardLink
        }
    })
}

/// As [`clone`], but by symbolic links: nothing but the directories and the copies takes space, even on another file
/// system than that of `source`, an absolute path. Directories whose path ends with one of `whole` are linked, too.
///
/// # Errors
/// When there is no space.
pub fn shadow(
    source: &Path,
    target: &Path,
    copy: &[impl AsRef<Path>],
    whole: &[impl AsRef<Path>],
) -> Result<(), SysError> {
    make(source, target, |from, kind| {
        if kind.is_dir() {
            match whole.iter().any(|suffix| from.ends_with(suffix)) {
                true => Way::SymbolicLink,
                false => Way::HardLink,
            }
        } else if copy.iter().any(|suffix| from.ends_with(suffix)) {
            Way::Copy
        } else {
            Way::SymbolicLink
        }
    })
}

/// What becomes of an entry of the source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Copy,
    SymbolicLink,
    /// Of a directory: one of its own, with the same in it.
    HardLink,
}

fn make(
    source: &Path,
    target: &Path,
    way: impl Fn(&Path, FileType) -> Way,
) -> Result<(), SysError> {
    whole(target, |aside| clone_directory(source, aside, &way))
}

/// Has `fill` make a tree beside `target`, which it becomes at the end; left alone when `target` exists.
fn whole(target: &Path, fill: impl FnOnce(&Path) -> Result<(), SysError>) -> Result<(), SysError> {
    if target.symlink_metadata().is_ok() {
        return Ok(());
    }
    let aside = aside(target);
    remove(&aside)?;
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).during(|| format!("make the directory {}", parent.display()))?;
    }
    let result = fill(&aside).and_then(|()| {
        fs::rename(&aside, target)
            .during(|| format!("rename {} to {}", aside.display(), target.display()))
    });
    if result.is_err() {
        // The first error is the one to tell; what stays is removed by the next run.
        let _ = remove(&aside);
    }
    result
}

fn aside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(".vial-clone");
    target.with_file_name(name)
}

fn remove(path: &Path) -> Result<(), SysError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).during(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn clone_directory(
    source: &Path,
    target: &Path,
    way: &impl Fn(&Path, FileType) -> Way,
) -> Result<(), SysError> {
    let operation = || format!("clone the directory {}", source.display());
    fs::create_dir(target).during(operation)?;
    for entry in fs::read_dir(source).during(operation)? {
        let entry = entry.during(operation)?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        let kind = entry.file_type().during(operation)?;
        match way(&from, kind) {
            Way::SymbolicLink => std::os::unix::fs::symlink(&from, &to)
                .during(|| format!("link {} to {}", to.display(), from.display()))?,
            Way::Copy => copy_file(&from, &to)?,
            Way::HardLink if kind.is_dir() => clone_directory(&from, &to, way)?,
            Way::HardLink => link(&from, &to, kind.is_file())?,
        }
    }
    // Last, because filling it changed its times, and its mode may forbid writing.
    copy_attributes(source, target)
}

fn link(from: &Path, to: &Path, regular: bool) -> Result<(), SysError> {
    match rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()) {
        // ext4 allows 65,000 names of one file; many clusters of one image get there with an empty file.
        Err(rustix::io::Errno::MLINK | rustix::io::Errno::XDEV) if regular => copy_file(from, to),
        Err(rustix::io::Errno::XDEV) if from.is_symlink() => fs::read_link(from)
            .and_then(|target| std::os::unix::fs::symlink(target, to))
            .during(|| format!("copy {} to {}", from.display(), to.display())),
        result => result.during(|| format!("link {} to {}", to.display(), from.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::XattrFlags;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    fn sample(dir: &Path) -> PathBuf {
        let source = dir.join("source");
        fs::create_dir_all(source.join("db")).unwrap();
        fs::create_dir_all(source.join("blobs")).unwrap();
        fs::write(source.join("db/meta.db"), "state").unwrap();
        fs::write(source.join("blobs/a"), "blob").unwrap();
        symlink("a", source.join("blobs/link")).unwrap();
        rustix::fs::lsetxattr(
            source.join("blobs"),
            "trusted.overlay.opaque",
            b"y",
            XattrFlags::empty(),
        )
        .unwrap();
        chown(source.join("blobs"), Some(7), Some(8)).unwrap();
        fs::set_permissions(source.join("blobs"), fs::Permissions::from_mode(0o2551)).unwrap();
        source
    }

    #[test]
    fn links_copies_and_keeps_attributes() {
        let dir = tempfile::tempdir().unwrap();
        let source = sample(dir.path());
        let target = dir.path().join("deep/target");
        clone(&source, &target, &["meta.db"]).unwrap();
        let inode = |path: &Path| path.symlink_metadata().unwrap().ino();
        assert_eq!(
            inode(&source.join("blobs/a")),
            inode(&target.join("blobs/a"))
        );
        assert_ne!(
            inode(&source.join("db/meta.db")),
            inode(&target.join("db/meta.db"))
        );
        assert_eq!(
            fs::read_to_string(target.join("db/meta.db")).unwrap(),
            "state"
        );
        assert_eq!(
            fs::read_link(target.join("blobs/link")).unwrap(),
            Path::new("a")
        );
        let (old, new) = (
            source.join("blobs").metadata().unwrap(),
            target.join("blobs").metadata().unwrap(),
        );
        assert_eq!(
            (new.uid(), new.gid(), new.mode(), new.mtime_nsec()),
            (7, 8, old.mode(), old.mtime_nsec())
        );
        let mut value = [0; 8];
        let length = rustix::fs::lgetxattr(
            target.join("blobs"),
            "trusted.overlay.opaque",
            &mut value[..],
        )
        .unwrap();
        assert_eq!(&value[..length], b"y");
    }

    #[test]
    fn between_file_systems_everything_is_copied() {
        // /dev/shm is a file system of its own wherever it exists; a test cannot mount one.
        let (dir, shm) = (tempfile::tempdir().unwrap(), Path::new("/dev/shm"));
        let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
        if device(shm).is_none() || device(shm) == device(dir.path()) {
            return vial_testing::skip("there is no second file system");
        }
        let other = tempfile::tempdir_in(shm).unwrap();
        let source = sample(dir.path());
        let target = other.path().join("target");
        clone(&source, &target, &["meta.db"]).unwrap();
        let content = |root: &Path| fs::read(root.join("blobs/a")).unwrap();
        assert_eq!(content(&target), content(&source));
        assert_eq!(
            fs::read_link(target.join("blobs/link")).unwrap(),
            Path::new("a")
        );
    }

    #[test]
    fn a_shadow_has_links_copies_and_directories_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let source = sample(dir.path());
        fs::create_dir_all(source.join("snapshots/1/fs/etc")).unwrap();
        let target = dir.path().join("target");
        shadow(&source, &target, &["meta.db"], &["fs"]).unwrap();
        let lead = |path: &str| fs::read_link(target.join(path)).unwrap();
        assert_eq!(lead("blobs/a"), source.join("blobs/a"));
        assert_eq!(lead("snapshots/1/fs"), source.join("snapshots/1/fs"));
        for own in ["blobs", "snapshots/1", "db/meta.db"] {
            assert!(!target.join(own).is_symlink(), "{own}");
        }
        // What is added or removed, or written where it was to be copied, is not the source's.
        fs::write(target.join("db/meta.db"), "later").unwrap();
        fs::remove_file(target.join("blobs/a")).unwrap();
        fs::remove_dir_all(target.join("snapshots/1")).unwrap();
        assert_eq!(
            fs::read_to_string(source.join("db/meta.db")).unwrap(),
            "state"
        );
        assert!(source.join("blobs/a").exists() && source.join("snapshots/1/fs/etc").exists());
        assert_eq!(
            target.join("blobs").metadata().unwrap().mode() & 0o7777,
            0o2551
        );
    }

    #[test]
    fn an_existing_target_is_left_alone_and_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let source = sample(dir.path());
        let target = dir.path().join("target");
        fs::create_dir_all(aside(&target).join("half")).unwrap();
        clone(&source, &target, &["meta.db"]).unwrap();
        assert!(!aside(&target).exists() && !target.join("half").exists());
        fs::write(target.join("db/meta.db"), "later").unwrap();
        clone(&source, &target, &["meta.db"]).unwrap();
        assert_eq!(
            fs::read_to_string(target.join("db/meta.db")).unwrap(),
            "later"
        );
    }

    #[test]
    fn a_failed_clone_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let error = clone(
            &dir.path().join("missing"),
            &dir.path().join("target"),
            &["x"],
        )
        .unwrap_err();
        assert!(error.line().contains("missing"), "{}", error.line());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
