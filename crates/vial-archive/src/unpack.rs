//! Makes files of a tar stream, below one directory.
//!
//! # Life of an entry
//! ```text
//!  name checked ─► its directory opened, no link followed ─► made there as `.vial-cp-…`
//!    ─► content, owner, attributes, mode, times ─► renamed to its name
//!  on failure, or when the stream ends early: what was made aside is removed
//! ```
//! Directories are the exception: one that is there stays, and gets its attributes at the end, deepest first, because
//! filling it changes its times and a read-only one could not be filled.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, mkdirat, mknodat, openat, statat, symlinkat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use crate::attributes::Attributes;
use crate::content::{Failed, copy};
use crate::error::{read, shown};
use crate::place::{Aside, Place, clean};
use crate::{ArchiveError, Summary};

/// Read and written at once.
const BLOCK: usize = 256 * 1024;

/// To whom the files shall belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// To the numbers in the archive.
    Keep,
    /// To this user and group.
    Be(u32, u32),
}

/// What the sender may have made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Everything: it could do so anyhow.
    Whole,
    /// Nothing that gives rights to whoever finds it: no device, no set-user-ID or set-group-ID program, no capability.
    Plain,
}

/// How to unpack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacking {
    /// To whom the files shall belong.
    pub owner: Owner,
    /// What the sender may have made.
    pub trust: Trust,
    /// The only name at the top that the archive may have, when one was asked for.
    pub only: Option<OsString>,
}

/// Unpacks the archive into the directory `into`, which exists. The stream is read to its end.
///
/// # Errors
/// When the archive is damaged or ends early, an entry leads out of `into`, or something cannot be made. Entries before
/// it stay.
pub fn unpack(
    reader: impl Read,
    into: &Path,
    options: &Unpacking,
) -> Result<Summary, ArchiveError> {
    let mut unpacker = Unpacker {
        place: Place::open(into)?,
        options,
        directories: Vec::new(),
        summary: Summary::default(),
        buffer: vec![0; BLOCK],
    };
    let mut archive = Archive::new(io::BufReader::with_capacity(BLOCK, reader));
    for entry in archive.entries().map_err(read)? {
        unpacker.entry(entry.map_err(read)?)?;
    }
    // Whoever sends would otherwise fail at the padding after the end.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(read)?;
    unpacker.finish()
}

struct Unpacker<'a> {
    place: Place,
    options: &'a Unpacking,
    /// For the end.
    directories: Vec<(PathBuf, Attributes)>,
    summary: Summary,
    buffer: Vec<u8>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), ArchiveError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let raw = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let name = clean(&raw).ok_or_else(|| ArchiveError::LeadsOut { name: raw.clone() })?;
        if let Some(only) = &self.options.only
            && name.iter().next() != Some(only.as_os_str())
        {
            return Err(ArchiveError::LeadsOut { name: raw });
        }
        if name.as_os_str().is_empty() {
            // `./`, the destination itself: its attributes are not ours to change.
            return Ok(());
        }
        let path = self.place.at(&name);
        let attributes = Attributes::of(&mut entry, &path, self.options, &mut self.summary)?;
        match kind {
            EntryType::Directory => self.directory(&name, attributes)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                // Archives of the 1970s end a directory's name with a slash and have no type for it.
                if entry.path_bytes().ends_with(b"/") {
                    self.directory(&name, attributes)?;
                } else {
                    self.file(&name, &attributes, &mut entry)?;
                }
            }
            EntryType::Link => {
                let link = link_name(&entry, &raw)?;
                let to = clean(&link).ok_or(ArchiveError::LeadsOut { name: raw })?;
                self.hard_link(&name, &to)?;
            }
            EntryType::Symlink => {
                let target = link_name(&entry, &raw)?;
                self.symlink(&name, &target, &attributes)?;
            }
            EntryType::Fifo => self.node(&name, FileType::Fifo, 0, &attributes)?,
            EntryType::Char | EntryType::Block => self.device(&entry, &name, &attributes)?,
            _ => {
                let what = "of an unknown type";
                return Err(ArchiveError::Unknown { name: raw, what });
            }
        }
        self.summary.entries += 1;
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        name: &Path,
        attributes: &Attributes,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), ArchiveError> {
        let path = self.place.at(name);
        let sparse = entry.header().entry_type() == EntryType::GNUSparse;
        let size = entry.size();
        let Self {
            place,
            summary,
            buffer,
            ..
        } = self;
        let (parent, last) = place.parent(name)?;
        let aside = Aside::new(parent);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(parent, &aside.name, flags, Mode::from_raw_mode(0o600))
            .map_err(ArchiveError::io("make", &path))?;
        let mut file = File::from(file);
        copy(entry, &mut file, size, sparse, buffer).map_err(|failed| match failed {
            Failed::Reading(source) => read(source),
            Failed::Writing(source) => ArchiveError::io("write", &path)(source),
        })?;
        attributes.set(file.as_fd(), &path, summary)?;
        aside.rename(last, &path)?;
        summary.bytes += size;
        Ok(())
    }

    fn directory(&mut self, name: &Path, attributes: Attributes) -> Result<(), ArchiveError> {
        let path = self.place.at(name);
        let (parent, last) = self.place.parent(name)?;
        match mkdirat(parent, last, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = statat(parent, last, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(ArchiveError::io("read", &path))?;
                if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                    let is_directory = false;
                    return Err(ArchiveError::OtherKind { path, is_directory });
                }
            }
            Err(error) => return Err(ArchiveError::io("make the directory", &path)(error)),
        }
        self.directories.push((name.to_path_buf(), attributes));
        Ok(())
    }

    fn hard_link(&mut self, name: &Path, to: &Path) -> Result<(), ArchiveError> {
        let path = self.place.at(name);
        if self
            .options
            .only
            .as_deref()
            .is_some_and(|only| to.iter().next() != Some(only))
        {
            return Err(ArchiveError::LeadsOut { name: to.into() });
        }
        let (from, old) = self.place.parent(to)?;
        let from = from
            .try_clone_to_owned()
            .map_err(ArchiveError::io("open", &path))?;
        let (parent, last) = self.place.parent(name)?;
        let aside = Aside::new(parent);
        // Without AT_SYMLINK_FOLLOW a link is linked, not what it leads to.
        linkat(&from, old, parent, &aside.name, AtFlags::empty())
            .map_err(ArchiveError::io("link", &path))?;
        aside.rename(last, &path)
    }

    fn symlink(
        &mut self,
        name: &Path,
        target: &Path,
        attributes: &Attributes,
    ) -> Result<(), ArchiveError> {
        let path = self.place.at(name);
        let (parent, last) = self.place.parent(name)?;
        let aside = Aside::new(parent);
        symlinkat(target, parent, &aside.name).map_err(ArchiveError::io("make the link", &path))?;
        attributes.set_by_name(parent, &aside.name, &path, false)?;
        aside.rename(last, &path)
    }

    fn device<R: Read>(
        &mut self,
        entry: &Entry<'_, R>,
        name: &Path,
        attributes: &Attributes,
    ) -> Result<(), ArchiveError> {
        if self.options.trust == Trust::Plain {
            let path = self.place.at(name);
            self.summary
                .note(format!("{} is a device: left out", shown(&path)));
            return Ok(());
        }
        let number = |field: io::Result<Option<u32>>| Ok(field.map_err(read)?.unwrap_or(0));
        let header = entry.header();
        let device = rustix::fs::makedev(
            number(header.device_major())?,
            number(header.device_minor())?,
        );
        let kind = match header.entry_type() {
            EntryType::Char => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        self.node(name, kind, device, attributes)
    }

    fn node(
        &mut self,
        name: &Path,
        kind: FileType,
        device: u64,
        attributes: &Attributes,
    ) -> Result<(), ArchiveError> {
        let path = self.place.at(name);
        let (parent, last) = self.place.parent(name)?;
        let aside = Aside::new(parent);
        mknodat(
            parent,
            &aside.name,
            kind,
            Mode::from_raw_mode(0o600),
            device,
        )
        .map_err(ArchiveError::io("make", &path))?;
        attributes.set_by_name(parent, &aside.name, &path, true)?;
        aside.rename(last, &path)
    }

    /// Gives directories their attributes.
    fn finish(mut self) -> Result<Summary, ArchiveError> {
        for (name, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            let path = self.place.at(&name);
            let (parent, last) = self.place.parent(&name)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = openat(parent, last, flags, Mode::empty())
                .map_err(ArchiveError::io("open the directory", &path))?;
            attributes.set(directory.as_fd(), &path, &mut self.summary)?;
        }
        Ok(self.summary)
    }
}

fn link_name<R: Read>(entry: &Entry<'_, R>, name: &Path) -> Result<PathBuf, ArchiveError> {
    let link = entry.link_name_bytes().ok_or(ArchiveError::Unknown {
        name: name.into(),
        what: "a link to nothing",
    })?;
    Ok(PathBuf::from(OsStr::from_bytes(&link)))
}
