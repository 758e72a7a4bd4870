//! One file, copied: its data without the holes, and all that belongs to it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, SeekFrom, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::{During, SysError};

/// Copies a regular file to a new one, with its attributes. What it has no data for, as the rest of a log that was
/// reserved beforehand, takes no space in the copy either (lseek(2), `SEEK_DATA`).
///
/// # Errors
/// When `to` exists, or there is no space.
pub fn copy_file(from: &Path, to: &Path) -> Result<(), SysError> {
    let operation = || format!("copy {} to {}", from.display(), to.display());
    let reader = File::open(from).during(operation)?;
    let writer = File::options()
        .write(true)
        .create_new(true)
        .open(to)
        .during(operation)?;
    copy_data(&reader, &writer).during(operation)?;
    copy_attributes(from, to)
}

fn copy_data(reader: &File, writer: &File) -> io::Result<()> {
    let length = reader.metadata()?.len();
    let mut place = 0;
    while place < length {
        let data = match rustix::fs::seek(reader, SeekFrom::Data(place)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(reader, SeekFrom::Hole(data))?;
        copy_range(reader, writer, data, end)?;
        place = end;
    }
    writer.set_len(length.max(writer.metadata()?.len()))
}

/// Has the kernel copy, which shares the blocks where the file system can (copy_file_range(2)).
fn copy_range(reader: &File, writer: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let length = usize::try_from(end - from).unwrap_or(usize::MAX);
        let copied =
            rustix::fs::copy_file_range(reader, Some(&mut from), writer, Some(&mut to), length);
        match copied {
            // It was cut meanwhile.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Two file systems of different kinds, or one that cannot.
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
                return copy_bytes(reader, writer, from, end);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_bytes(reader: &File, writer: &File, start: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let mut buffer = vec![0; 256 * 1024];
    let mut place = start;
    while place < end {
        let wanted =
            usize::try_from(end - place).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = reader.read_at(&mut buffer[..wanted], place)?;
        if read == 0 {
            return Ok(());
        }
        writer.write_all_at(&buffer[..read], place)?;
        place += read as u64;
    }
    Ok(())
}

/// Gives the directory or file `to` the owner, mode, extended attributes and times of `from`.
///
/// # Errors
/// When one of them cannot be set.
pub fn copy_attributes(from: &Path, to: &Path) -> Result<(), SysError> {
    let operation = || format!("copy the attributes of {}", from.display());
    let metadata = from.symlink_metadata().during(operation)?;
    // Changing the owner clears set-uid bits and security.capability: it comes first.
    chown(to, Some(metadata.uid()), Some(metadata.gid())).during(operation)?;
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))
        .during(operation)?;
    copy_xattrs(from, to).during(operation)?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).during(operation)
}

fn copy_xattrs(from: &Path, to: &Path) -> io::Result<()> {
    // 64 KiB is the kernel's limit for the list of names and for one value (xattr(7)).
    let mut names = vec![0_u8; 65_536];
    let length = match rustix::fs::llistxattr(from, names.as_mut_slice()) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        result => result?,
    };
    names.truncate(length);
    let mut value = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        value.resize(65_536, 0);
        let length = rustix::fs::lgetxattr(from, name, value.as_mut_slice())?;
        rustix::fs::lsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn holes_stay_holes_and_the_length_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).unwrap();
        file.write_all_at(b"first", 0).unwrap();
        file.write_all_at(b"later", 8 << 20).unwrap();
        file.set_len(64 << 20).unwrap();
        copy_file(&from, &to).unwrap();
        let (old, new) = (from.metadata().unwrap(), to.metadata().unwrap());
        assert_eq!(new.len(), 64 << 20);
        assert!(new.blocks() <= old.blocks() + 16, "{} blocks", new.blocks());
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
    }

    #[test]
    fn what_was_reserved_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let file = File::create(&from).unwrap();
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 8 << 20) {
            Err(Errno::OPNOTSUPP) => return vial_testing::skip("no space can be reserved here"),
            reserved => reserved.unwrap(),
        }
        file.write_all_at(b"entry", 0).unwrap();
        copy_file(&from, &to).unwrap();
        let new = to.metadata().unwrap();
        assert_eq!(new.len(), 8 << 20);
        assert!(new.blocks() * 512 < 1 << 20, "{} blocks", new.blocks());
    }

    #[test]
    fn an_empty_file_and_one_of_odd_length_are_copied() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in [("empty", vec![]), ("odd", vec![7; 100_003])] {
            let from = dir.path().join(name);
            let to = from.with_extension("copy");
            fs::write(&from, &content).unwrap();
            copy_file(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), content);
            assert!(copy_file(&from, &to).is_err(), "never over another file");
        }
    }
}
