//! Writes a tree as a tar stream.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};

use crate::error::shown;
use crate::{ArchiveError, Summary, records};

/// Files of the kernel say that they are empty; as much is read of them to find out.
const PSEUDO: u64 = 4 * 1024 * 1024;

/// What a tree is called in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The source itself, under this name.
    Named(OsString),
    /// Only what is in the source, a directory.
    Contents,
}

/// Writes `source` and everything below it. A symbolic link is written as one.
///
/// Sockets are left out with a note; so is what vanishes meanwhile. A file that grows is written as long as it was.
///
/// # Errors
/// When something cannot be read or written, or a file got shorter while it was read.
pub fn pack(writer: impl Write, source: &Path, root: &Root) -> Result<Summary, ArchiveError> {
    let metadata = source
        .symlink_metadata()
        .map_err(ArchiveError::io("read", source))?;
    let mut packer = Packer {
        builder: Builder::new(writer),
        links: HashMap::new(),
        summary: Summary::default(),
    };
    match root {
        Root::Named(name) => packer.tree(source, Path::new(name), &metadata)?,
        Root::Contents => packer.children(source, Path::new(""))?,
    }
    packer.builder.finish().map_err(write)?;
    packer.builder.get_mut().flush().map_err(write)?;
    Ok(packer.summary)
}

struct Packer<W: Write> {
    builder: Builder<W>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), PathBuf>,
    summary: Summary,
}

impl<W: Write> Packer<W> {
    fn tree(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<(), ArchiveError> {
        self.entry(path, name, metadata)?;
        if metadata.is_dir() {
            self.children(path, name)?;
        }
        Ok(())
    }

    fn children(&mut self, directory: &Path, name: &Path) -> Result<(), ArchiveError> {
        let mut names: Vec<OsString> = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(ArchiveError::io("read", directory))?;
        names.sort();
        for child in names {
            let path = directory.join(&child);
            match path.symlink_metadata() {
                Ok(metadata) => self.tree(&path, &name.join(&child), &metadata)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.vanished(&path),
                Err(error) => return Err(ArchiveError::io("read", &path)(error)),
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> Result<(), ArchiveError> {
        let kind = metadata.file_type();
        if kind.is_socket() {
            self.summary
                .note(format!("{} is a socket: left out", shown(path)));
            return Ok(());
        }
        if !kind.is_dir() && metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&inode) {
                let mut header = header(EntryType::Link, metadata);
                self.builder
                    .append_link(&mut header, name, first)
                    .map_err(write)?;
                self.summary.entries += 1;
                return Ok(());
            }
            self.links.insert(inode, name.to_path_buf());
        }
        if kind.is_file() {
            return self.file(path, name);
        }
        self.extensions(path, metadata)?;
        if kind.is_dir() {
            let mut header = header(EntryType::Directory, metadata);
            // `a/`, so that nobody takes it for a file.
            self.builder
                .append_data(&mut header, name.join(""), io::empty())
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(ArchiveError::io("read", path))?;
            let mut header = header(EntryType::Symlink, metadata);
            self.builder.append_link(&mut header, name, target)
        } else {
            let kind = match () {
                () if kind.is_char_device() => EntryType::Char,
                () if kind.is_block_device() => EntryType::Block,
                () => EntryType::Fifo,
            };
            let mut header = header(kind, metadata);
            let device = metadata.rdev();
            header
                .set_device_major(rustix::fs::major(device))
                .and_then(|()| header.set_device_minor(rustix::fs::minor(device)))
                .map_err(write)?;
            self.builder.append_data(&mut header, name, io::empty())
        }
        .map_err(write)?;
        self.summary.entries += 1;
        Ok(())
    }

    fn file(&mut self, path: &Path, name: &Path) -> Result<(), ArchiveError> {
        // Not a link and not a fifo that somebody put there since it was looked at.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let mut file = match File::options().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.vanished(path);
                return Ok(());
            }
            Err(error) => return Err(ArchiveError::io("read", path)(error)),
        };
        let metadata = file.metadata().map_err(ArchiveError::io("read", path))?;
        self.extensions(path, &metadata)?;
        let size = metadata.size();
        self.summary.entries += 1;
        if metadata.blocks() * 512 < size {
            // It has holes, which GNU tar's sparse format leaves out.
            self.builder.append_file(name, &mut file).map_err(write)?;
            self.summary.bytes += size;
            return Ok(());
        }
        let mut header = header(EntryType::Regular, &metadata);
        let mut start = Vec::new();
        if size == 0 {
            // What cannot be read at all, like some files of the kernel, stays as empty as it says it is.
            let _ = (&mut file).take(PSEUDO).read_to_end(&mut start);
        }
        let size = size.max(start.len() as u64);
        header.set_size(size);
        self.summary.bytes += size;
        let mut exact = Exact {
            data: start.chain(file),
            left: size,
            failed: false,
        };
        let appended = self.builder.append_data(&mut header, name, &mut exact);
        appended.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof if exact.failed => {
                ArchiveError::Changed { path: path.into() }
            }
            _ if exact.failed => ArchiveError::io("read", path)(error),
            _ => write(error),
        })
    }

    /// What a header of tar cannot say, as PAX records before it.
    fn extensions(&mut self, path: &Path, metadata: &Metadata) -> Result<(), ArchiveError> {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
        if nanos != 0 || seconds < 0 {
            records.push((
                "mtime".into(),
                records::decimal(seconds, nanos).into_bytes(),
            ));
        }
        if !metadata.is_symlink() {
            records.extend(
                records::attributes(path).map_err(ArchiveError::io("read attributes of", path))?,
            );
        }
        let borrowed = records.iter().map(|(key, value)| (&**key, &**value));
        self.builder.append_pax_extensions(borrowed).map_err(write)
    }

    fn vanished(&mut self, path: &Path) {
        self.summary
            .note(format!("{} vanished meanwhile: left out", shown(path)));
    }
}

/// A header with the attributes of `metadata`; the caller adds name and size.
fn header(kind: EntryType, metadata: &Metadata) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(metadata.uid().into());
    header.set_gid(metadata.gid().into());
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_size(0);
    header
}

/// Exactly as many bytes as the header says; [`io::ErrorKind::UnexpectedEof`] when there are fewer.
struct Exact<R> {
    data: R,
    left: u64,
    /// It was the reading that failed, not the writing.
    failed: bool,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let result = match self.data.read(&mut buffer[..most]) {
            Ok(0) if most > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            result => result,
        };
        match &result {
            Ok(read) => self.left -= *read as u64,
            Err(_) => self.failed = true,
        }
        result
    }
}

fn write(source: io::Error) -> ArchiveError {
    ArchiveError::Write { source }
}
