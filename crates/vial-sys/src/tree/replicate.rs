//! A tree that two will write to from now on, each on its own: every file is shared or copied, as somebody judges.
//!
//! What is shared is one file with two names, and must never be written in place again. All else becomes a file of its
//! own, names of one file inside the tree included: they name one file in the copy, too. Sockets, pipes and devices are
//! made anew, since two that share a pipe would hear each other.

use std::collections::HashMap;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps};

use super::{copy_attributes, copy_file, link, whole};
use crate::{During, SysError};

/// What becomes of an entry of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Its own: of a directory, whatever is said of what is in it.
    Copy,
    /// The same file under another name; of a directory, of everything in it.
    Link,
    /// It is not in the copy, nor what is in it.
    Omit,
}

/// Makes `target` what `source` is; left alone when `target` exists. `judge` is given the path of each entry below
/// `source`.
///
/// # Errors
/// When there is no space.
pub fn replicate(
    source: &Path,
    target: &Path,
    judge: &dyn Fn(&Path, FileType) -> Share,
) -> Result<(), SysError> {
    whole(target, |aside| {
        let mut replica = Replica {
            judge,
            source,
            copies: HashMap::new(),
        };
        replica.directory(source, aside, Share::Copy)
    })
}

struct Replica<'a> {
    judge: &'a dyn Fn(&Path, FileType) -> Share,
    source: &'a Path,
    /// Copies of files with several names, by device and inode.
    copies: HashMap<(u64, u64), PathBuf>,
}

impl Replica<'_> {
    fn directory(&mut self, from: &Path, to: &Path, around: Share) -> Result<(), SysError> {
        let operation = || format!("copy the directory {}", from.display());
        fs::create_dir(to).during(operation)?;
        for entry in fs::read_dir(from).during(operation)? {
            let entry = entry.during(operation)?;
            let kind = entry.file_type().during(operation)?;
            let path = entry.path();
            let share = match around {
                Share::Copy => {
                    let below = path.strip_prefix(self.source).unwrap_or(&path);
                    (self.judge)(below, kind)
                }
                decided => decided,
            };
            let to = to.join(entry.file_name());
            match share {
                Share::Omit => {}
                _ if kind.is_dir() => self.directory(&path, &to, share)?,
                Share::Link => link(&path, &to, kind.is_file())?,
                Share::Copy => self.copy(&path, &to)?,
            }
        }
        // Last, because filling it changed its times, and its mode may forbid writing.
        copy_attributes(from, to)
    }

    fn copy(&mut self, from: &Path, to: &Path) -> Result<(), SysError> {
        let operation = || format!("copy {} to {}", from.display(), to.display());
        let metadata = from.symlink_metadata().during(operation)?;
        if metadata.nlink() > 1 {
            let file = (metadata.dev(), metadata.ino());
            if let Some(first) = self.copies.get(&file) {
                return fs::hard_link(first, to).during(operation);
            }
            self.copies.insert(file, to.to_owned());
        }
        if metadata.is_file() {
            copy_file(from, to)
        } else if metadata.is_symlink() {
            fs::read_link(from)
                .and_then(|lead| symlink(lead, to))
                .and_then(|()| as_before(&metadata, to))
                .during(operation)
        } else {
            special(&metadata, to).during(operation)?;
            copy_attributes(from, to)
        }
    }
}

/// Owner and times of a link itself.
fn as_before(metadata: &Metadata, to: &Path) -> io::Result<()> {
    lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// A device (a whiteout of an overlay is one), a pipe or a socket.
fn special(metadata: &Metadata, to: &Path) -> io::Result<()> {
    let kind = metadata.file_type();
    let (kind, device) = if kind.is_char_device() {
        (rustix::fs::FileType::CharacterDevice, metadata.rdev())
    } else if kind.is_block_device() {
        (rustix::fs::FileType::BlockDevice, metadata.rdev())
    } else if kind.is_fifo() {
        (rustix::fs::FileType::Fifo, 0)
    } else {
        (rustix::fs::FileType::Socket, 0)
    };
    rustix::fs::mknodat(CWD, to, kind, Mode::RUSR | Mode::WUSR, device)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(path: PathBuf) -> u64 {
        path.symlink_metadata().unwrap().ino()
    }

    #[test]
    fn each_file_is_shared_or_copied_as_was_judged() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("deep/target"));
        for below in ["blobs/deep", "active", "ingest"] {
            fs::create_dir_all(source.join(below)).unwrap();
        }
        for file in ["blobs/deep/a", "active/b", "ingest/half", "meta.db"] {
            fs::write(source.join(file), file).unwrap();
        }
        symlink("/nowhere", source.join("active/link")).unwrap();
        let judge = |path: &Path, kind: FileType| match path.to_str() {
            Some("blobs") => Share::Link,
            Some("ingest") => Share::Omit,
            _ => {
                assert!(
                    !path.starts_with("blobs"),
                    "{path:?} {kind:?}: nobody is asked again"
                );
                Share::Copy
            }
        };
        replicate(&source, &target, &judge).unwrap();
        let same = |path: &str| inode(source.join(path)) == inode(target.join(path));
        assert!(same("blobs/deep/a"));
        assert!(!same("active/b") && !same("meta.db") && !same("active/link"));
        assert_eq!(
            fs::read_to_string(target.join("active/b")).unwrap(),
            "active/b"
        );
        assert_eq!(
            fs::read_link(target.join("active/link")).unwrap(),
            Path::new("/nowhere")
        );
        assert!(!target.join("ingest").exists());
        fs::write(target.join("meta.db"), "later").unwrap();
        replicate(&source, &target, &judge).unwrap();
        assert_eq!(fs::read_to_string(target.join("meta.db")).unwrap(), "later");
    }

    #[test]
    fn names_of_one_file_stay_names_of_one_file_and_pipes_are_new() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("a"), "text").unwrap();
        fs::hard_link(source.join("a"), source.join("b")).unwrap();
        rustix::fs::mknodat(
            CWD,
            source.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
        drop(socket);
        replicate(&source, &target, &|_, _| Share::Copy).unwrap();
        assert_eq!(inode(target.join("a")), inode(target.join("b")));
        assert_ne!(inode(source.join("a")), inode(target.join("a")));
        let pipe = target.join("pipe").symlink_metadata().unwrap();
        assert!(pipe.file_type().is_fifo() && pipe.mode() & 0o777 == 0o400);
        assert_ne!(inode(source.join("pipe")), inode(target.join("pipe")));
        let socket = target.join("socket").symlink_metadata().unwrap();
        assert!(socket.file_type().is_socket());
    }

    #[test]
    fn a_replica_that_failed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let copy = |_: &Path, _| Share::Copy;
        assert!(replicate(&missing, &dir.path().join("target"), &copy).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
