//! Attributes of files: as the protocol writes them, and as the kernel sets them.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, RawMode, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::wire::{Fields, Packet};

const SIZE: u32 = 1;
const OWNER: u32 = 2;
const MODE: u32 = 4;
const TIMES: u32 = 8;
const EXTENDED: u32 = 0x8000_0000;
/// The bits of a mode that can be set.
const SETTABLE: RawMode = 0o7777;

/// What a client says about a file; what it does not say stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Bytes.
    pub(super) size: Option<u64>,
    /// User and group.
    pub(super) owner: Option<(u32, u32)>,
    /// Permissions, and the kind of file.
    pub(super) mode: Option<u32>,
    /// Of the last access and change, in seconds since 1970.
    pub(super) times: Option<(u32, u32)>,
}

/// Which file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    Open(BorrowedFd<'a>),
    /// What a symbolic link leads to.
    Path(&'a Path),
    /// A symbolic link itself.
    Link(&'a Path),
}

impl Attributes {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let flags = fields.number()?;
        let has = |flag| flags & flag != 0;
        let mut attributes = Self::default();
        if has(SIZE) {
            attributes.size = Some(fields.long()?);
        }
        if has(OWNER) {
            attributes.owner = Some((fields.number()?, fields.number()?));
        }
        if has(MODE) {
            attributes.mode = Some(fields.number()?);
        }
        if has(TIMES) {
            attributes.times = Some((fields.number()?, fields.number()?));
        }
        if has(EXTENDED) {
            for _ in 0..fields.number()? {
                fields.string()?;
                fields.string()?;
            }
        }
        Some(attributes)
    }

    /// The mode of a new file or directory.
    pub(super) fn new_mode(&self, usual: RawMode) -> Mode {
        Mode::from_raw_mode(self.mode.map_or(usual, |mode| mode & SETTABLE))
    }

    /// Sets what was said; what can be set is set, and the first error is returned.
    pub(super) fn apply(&self, target: Target<'_>) -> Result<(), Errno> {
        let mut result = Ok(());
        let mut then = |done: Result<(), Errno>| {
            if result.is_ok() {
                result = done;
            }
        };
        if let Some(size) = self.size {
            then(truncate(target, size));
        }
        if let Some(mode) = self.mode {
            let mode = Mode::from_raw_mode(mode & SETTABLE);
            then(match target {
                Target::Open(fd) => rustix::fs::fchmod(fd, mode),
                Target::Path(path) => rustix::fs::chmod(path, mode),
                // Linux has no modes of links.
                Target::Link(path) => {
                    rustix::fs::chmodat(CWD, path, mode, AtFlags::SYMLINK_NOFOLLOW)
                }
            });
        }
        if let Some((atime, mtime)) = self.times {
            let at = |seconds: u32| Timespec {
                tv_sec: seconds.into(),
                tv_nsec: 0,
            };
            let times = Timestamps {
                last_access: at(atime),
                last_modification: at(mtime),
            };
            then(match target {
                Target::Open(fd) => rustix::fs::futimens(fd, &times),
                Target::Path(path) => rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
                Target::Link(path) => {
                    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
                }
            });
        }
        if let Some((user, group)) = self.owner {
            let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            then(match target {
                Target::Open(fd) => rustix::fs::fchown(fd, user, group),
                Target::Path(path) => rustix::fs::chownat(CWD, path, user, group, AtFlags::empty()),
                Target::Link(path) => {
                    rustix::fs::chownat(CWD, path, user, group, AtFlags::SYMLINK_NOFOLLOW)
                }
            });
        }
        result
    }
}

fn truncate(target: Target<'_>, size: u64) -> Result<(), Errno> {
    match target {
        Target::Open(fd) => rustix::fs::ftruncate(fd, size),
        Target::Path(path) => {
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
            let file = rustix::fs::open(path, flags, Mode::empty())?;
            rustix::fs::ftruncate(file.as_fd(), size)
        }
        Target::Link(_) => Err(Errno::INVAL),
    }
}

/// Writes what the kernel says about a file.
pub(super) fn write(packet: &mut Packet, stat: &Stat) {
    let seconds = |seconds: i64| u32::try_from(seconds).unwrap_or(0);
    packet.number(SIZE | OWNER | MODE | TIMES);
    packet.long(u64::try_from(stat.st_size).unwrap_or(0));
    packet.number(stat.st_uid);
    packet.number(stat.st_gid);
    packet.number(stat.st_mode);
    packet.number(seconds(stat.st_atime));
    packet.number(seconds(stat.st_mtime));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn only_what_is_said_is_read() {
        let mut packet = Packet::new(0, 0);
        packet.number(MODE | TIMES | EXTENDED);
        packet.number(0o100_644);
        packet.number(1);
        packet.number(2);
        packet.number(1);
        packet.string(b"name");
        packet.string(b"value");
        let bytes = packet.finish();
        let read = Attributes::read(&mut Fields::new(&bytes[9..])).unwrap();
        assert_eq!((read.size, read.owner), (None, None));
        assert_eq!((read.mode, read.times), (Some(0o100_644), Some((1, 2))));
        assert_eq!(Attributes::read(&mut Fields::new(&bytes[9..20])), None);
    }

    #[test]
    fn what_is_said_is_set() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "hello").unwrap();
        let attributes = Attributes {
            size: Some(2),
            owner: None,
            mode: Some(0o640),
            times: Some((1_000, 2_000)),
        };
        attributes.apply(Target::Path(&path)).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, 0o640);
        assert_eq!(
            (found.len(), found.atime(), found.mtime()),
            (2, 1_000, 2_000)
        );
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let times = Attributes {
            times: Some((3, 4)),
            ..Attributes::default()
        };
        times.apply(Target::Link(&link)).unwrap();
        assert_eq!(fs::symlink_metadata(&link).unwrap().mtime(), 4);
        assert_eq!(times.apply(Target::Path(&link)), Err(Errno::NOENT));
    }
}
