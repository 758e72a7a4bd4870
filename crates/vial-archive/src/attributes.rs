//! What belongs to a file besides its content: read from an entry, set on what was made.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, utimensat,
};
use rustix::io::Errno;
use tar::Entry;

use crate::error::{read, shown};
use crate::unpack::{Owner, Trust, Unpacking};
use crate::{ArchiveError, Summary, records};

/// What is set on a file once it has its content.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    mode: u32,
    owner: (u32, u32),
    times: Timestamps,
    extended: Vec<(String, Vec<u8>)>,
}

impl Attributes {
    /// What the entry says about itself, as far as it may be had here.
    ///
    /// `path` is where it is unpacked to, for people.
    pub(crate) fn of<R: Read>(
        entry: &mut Entry<'_, R>,
        path: &Path,
        options: &Unpacking,
        summary: &mut Summary,
    ) -> Result<Self, ArchiveError> {
        let header = entry.header();
        let kind = header.entry_type();
        let mut mode = header.mode().map_err(read)? & 0o7777;
        let mut owner = (
            number(header.uid().map_err(read)?)?,
            number(header.gid().map_err(read)?)?,
        );
        let seconds = i64::try_from(header.mtime().map_err(read)?).unwrap_or(i64::MAX);
        let mut modified = records::timespec(seconds, 0);
        let mut extended = Vec::new();
        if let Some(records) = entry.pax_extensions().map_err(read)? {
            for record in records {
                let record = record.map_err(read)?;
                let (Ok(key), value) = (record.key(), record.value_bytes()) else {
                    continue;
                };
                let text = || std::str::from_utf8(value).unwrap_or_default();
                if key.starts_with("GNU.sparse.") {
                    let name = path.to_path_buf();
                    let what = "a sparse file in the format `pax`";
                    return Err(ArchiveError::Unknown { name, what });
                }
                match key {
                    "mtime" => modified = records::time(text()).unwrap_or(modified),
                    "uid" => owner.0 = text().parse().unwrap_or(owner.0),
                    "gid" => owner.1 = text().parse().unwrap_or(owner.1),
                    _ => extended.extend(records::attribute(key, value)),
                }
            }
        }
        if options.trust == Trust::Plain {
            let is_file = kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse();
            if is_file && mode & 0o6000 != 0 {
                mode &= 0o1777;
                let what = "without its set-user-ID and set-group-ID bits";
                summary.note(format!("{} is {what}", shown(path)));
            }
            extended.retain(|(key, _)| {
                let plain = key.starts_with("user.") || key.starts_with("system.posix_acl_");
                if !plain {
                    let key = shown(Path::new(key));
                    summary.note(format!("{} is without its attribute {key}", shown(path)));
                }
                plain
            });
        }
        let omit = records::timespec(0, UTIME_OMIT);
        Ok(Self {
            mode,
            owner: match options.owner {
                Owner::Keep => owner,
                Owner::Be(uid, gid) => (uid, gid),
            },
            times: Timestamps {
                last_access: omit,
                last_modification: modified,
            },
            extended,
        })
    }

    /// On an open file or directory.
    pub(crate) fn set(
        &self,
        file: BorrowedFd<'_>,
        path: &Path,
        summary: &mut Summary,
    ) -> Result<(), ArchiveError> {
        let (uid, gid) = self.owner;
        fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(ArchiveError::io("change the owner of", path))?;
        for (key, value) in &self.extended {
            // After the owner, whose change takes capabilities away (chown(2)).
            match fsetxattr(file, key.as_str(), value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::NOSPC | Errno::RANGE) => {
                    let key = shown(Path::new(key));
                    summary.note(format!("{} is without its attribute {key}", shown(path)));
                }
                Err(error) => return Err(ArchiveError::io("set attributes of", path)(error)),
            }
        }
        // After the owner, whose change takes the set-user-ID bit away.
        fchmod(file, Mode::from_raw_mode(self.mode))
            .map_err(ArchiveError::io("change the mode of", path))?;
        futimens(file, &self.times).map_err(ArchiveError::io("change the times of", path))
    }

    /// On what cannot be opened: a link, a fifo, a device.
    pub(crate) fn set_by_name(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        mode: bool,
    ) -> Result<(), ArchiveError> {
        let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(parent, name, Some(uid), Some(gid), flags)
            .map_err(ArchiveError::io("change the owner of", path))?;
        if mode {
            rustix::fs::chmodat(
                parent,
                name,
                Mode::from_raw_mode(self.mode),
                AtFlags::empty(),
            )
            .map_err(ArchiveError::io("change the mode of", path))?;
        }
        utimensat(parent, name, &self.times, flags)
            .map_err(ArchiveError::io("change the times of", path))
    }
}

fn number(value: u64) -> Result<u32, ArchiveError> {
    u32::try_from(value).map_err(|error| read(io::Error::other(error)))
}
