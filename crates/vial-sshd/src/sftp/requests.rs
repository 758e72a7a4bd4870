//! The requests of the protocol (draft-ietf-secsh-filexfer-02, 6), done.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attributes::{self, Attributes, Target};
use super::handles::{Handle, Handles};
use super::status::Status;
use super::wire::{Fields, Packet};
use super::{LARGEST, extensions, listing};

const INIT: u8 = 1;
const VERSION: u8 = 2;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
/// The one version there is.
const THREE: u32 = 3;
/// What one answer to a read may hold, and what one with names is kept below, in bytes.
pub(super) const MOST_DATA: u32 = 255 * 1024;
const MOST_NAMES: usize = 64 * 1024;

/// One client's files.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) handles: Handles,
}

/// An answer that is no status.
pub(super) type Answer = Result<Packet, Status>;

impl Server {
    /// Does what a packet asks for.
    pub(super) fn answer(&mut self, mut fields: Fields<'_>) -> Vec<u8> {
        let kind = fields.byte().unwrap_or_default();
        if kind == INIT {
            return version();
        }
        let request = fields.number().unwrap_or_default();
        match self.request(kind, request, &mut fields) {
            Ok(packet) => packet.finish(),
            Err(status) => status.packet(request),
        }
    }

    fn request(&mut self, kind: u8, request: u32, fields: &mut Fields<'_>) -> Answer {
        match kind {
            3 => self.open(request, fields),
            4 => done(self.handles.remove(string(fields)?)),
            5 => self.read(request, fields),
            6 => self.write(fields),
            7 => attrs(request, &rustix::fs::lstat(path(fields)?)?),
            8 => attrs(
                request,
                &rustix::fs::fstat(self.handles.file(string(fields)?)?.0)?,
            ),
            9 => {
                let path = path(fields)?;
                done(said(fields)?.apply(Target::Path(path)))
            }
            10 => {
                let fd = self.handles.file(string(fields)?)?.0;
                done(said(fields)?.apply(Target::Open(fd.as_fd())))
            }
            11 => self.open_directory(request, fields),
            12 => self.read_directory(request, fields),
            13 => done(rustix::fs::unlink(path(fields)?)),
            14 => {
                let path = path(fields)?;
                done(rustix::fs::mkdir(path, said(fields)?.new_mode(0o777)))
            }
            15 => done(rustix::fs::rmdir(path(fields)?)),
            16 => {
                let path = path(fields)?;
                name(request, real_path(path)?.as_os_str().as_bytes())
            }
            17 => attrs(request, &rustix::fs::stat(path(fields)?)?),
            18 => {
                let (from, to) = (path(fields)?, path(fields)?);
                done(rename_new(from, to))
            }
            19 => {
                let target = rustix::fs::readlink(path(fields)?, Vec::new())?;
                name(request, target.as_bytes())
            }
            20 => {
                // What it leads to comes first, other than in the draft, and as in every server since OpenSSH's.
                let (target, link) = (path(fields)?, path(fields)?);
                done(rustix::fs::symlink(target, link))
            }
            200 => extensions::request(self, request, fields),
            _ => Err(Status::Unsupported),
        }
    }

    fn open(&mut self, request: u32, fields: &mut Fields<'_>) -> Answer {
        let path = path(fields)?;
        let wanted = fields.number().ok_or(Status::Bad)?;
        let attributes = said(fields)?;
        let append = wanted & 4 != 0;
        let file = rustix::fs::open(path, open_flags(wanted), attributes.new_mode(0o666))?;
        let handle = Handle::File { fd: file, append };
        self.named(request, handle)
    }

    fn open_directory(&mut self, request: u32, fields: &mut Fields<'_>) -> Answer {
        let path = path(fields)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let handle = Handle::Directory {
            entries: Dir::new(fd)?,
            path: path.to_owned(),
        };
        self.named(request, handle)
    }

    fn named(&mut self, request: u32, handle: Handle) -> Answer {
        let mut packet = Packet::new(HANDLE, request);
        packet.string(&self.handles.add(handle)?);
        Ok(packet)
    }

    fn read(&mut self, request: u32, fields: &mut Fields<'_>) -> Answer {
        let (fd, _) = self.handles.file(string(fields)?)?;
        let offset = fields.long().ok_or(Status::Bad)?;
        let length = fields.number().ok_or(Status::Bad)?.min(MOST_DATA);
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(LARGEST)];
        let mut filled = 0;
        // What is asked for as far as it is there: a client takes less for a slow network.
        while filled < buffer.len() {
            let at = offset.saturating_add(filled as u64);
            match rustix::io::pread(fd, &mut buffer[filled..], at) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                // Not everything that can be read has offsets.
                Err(Errno::SPIPE) => {
                    filled = rustix::io::read(fd, &mut buffer)?;
                    break;
                }
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error.into()),
            }
        }
        if filled == 0 && length > 0 {
            return Err(Status::End);
        }
        let mut packet = Packet::with_room(DATA, request, filled);
        packet.string(&buffer[..filled]);
        Ok(packet)
    }

    fn write(&mut self, fields: &mut Fields<'_>) -> Answer {
        let (fd, append) = self.handles.file(string(fields)?)?;
        let offset = fields.long().ok_or(Status::Bad)?;
        let data = string(fields)?;
        let mut written = 0;
        while written < data.len() {
            let rest = &data[written..];
            let at = offset.saturating_add(written as u64);
            let result = if append {
                rustix::io::write(fd, rest)
            } else {
                match rustix::io::pwrite(fd, rest, at) {
                    Err(Errno::SPIPE) => rustix::io::write(fd, rest),
                    result => result,
                }
            };
            match result {
                Ok(length) => written += length,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Status::Ok)
    }

    fn read_directory(&mut self, request: u32, fields: &mut Fields<'_>) -> Answer {
        let (entries, directory) = self.handles.directory(string(fields)?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
        let (mut names, mut count) = (Packet::new(0, 0), 0);
        let head = names.len();
        while names.len() < MOST_NAMES {
            let Some(entry) = entries.read() else { break };
            let entry = entry?;
            let file_name = entry.file_name().to_bytes();
            // One that was removed meanwhile is not there.
            let path = directory.join(OsStr::from_bytes(file_name));
            let Ok(stat) = rustix::fs::lstat(&path) else {
                continue;
            };
            names.string(file_name);
            names.string(&listing::line(file_name, &stat, now));
            attributes::write(&mut names, &stat);
            count += 1;
        }
        if count == 0 {
            return Err(Status::End);
        }
        let mut packet = Packet::with_room(NAME, request, names.len());
        packet.number(count);
        packet.bytes(&names.finish()[head..]);
        Ok(packet)
    }
}

fn version() -> Vec<u8> {
    // Here the version stands where answers have the number of their request.
    let mut packet = Packet::new(VERSION, THREE);
    for (name, version) in extensions::KNOWN {
        packet.string(name.as_bytes());
        packet.string(version.as_bytes());
    }
    packet.finish()
}

/// SSH_FXF_READ, WRITE, APPEND, CREAT, TRUNC, EXCL in the kernel's flags.
fn open_flags(wanted: u32) -> OFlags {
    let has = |flag| wanted & flag != 0;
    let mut flags = OFlags::CLOEXEC | OFlags::NOCTTY;
    flags |= match (has(1), has(2) || has(4)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    for (flag, kernel) in [
        (4, OFlags::APPEND),
        (8, OFlags::CREATE),
        (16, OFlags::TRUNC),
        (32, OFlags::EXCL),
    ] {
        flags.set(kernel, has(flag));
    }
    flags
}

/// Renames without replacing anything, as the draft wants it.
fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    use rustix::fs::RenameFlags;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system without that.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if rustix::fs::lstat(to).is_ok() {
                return Err(Errno::EXIST);
            }
            rustix::fs::rename(from, to)
        }
        result => result,
    }
}

/// The path without links and dots; what is not there (yet) stays as it is.
pub(super) fn real_path(path: &Path) -> Result<PathBuf, Status> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    if let Ok(real) = std::fs::canonicalize(path) {
        return Ok(real);
    }
    let (Some(parent), Some(last)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT.into());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    Ok(std::fs::canonicalize(parent)?.join(last))
}

pub(super) fn string<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], Status> {
    fields.string().ok_or(Status::Bad)
}

/// A path. An empty one is the directory the session began in.
pub(super) fn path<'a>(fields: &mut Fields<'a>) -> Result<&'a Path, Status> {
    let bytes = string(fields)?;
    if bytes.contains(&0) {
        return Err(Status::Bad);
    }
    let bytes = if bytes.is_empty() { b"." } else { bytes };
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

pub(super) fn said(fields: &mut Fields<'_>) -> Result<Attributes, Status> {
    Attributes::read(fields).ok_or(Status::Bad)
}

/// A status is the answer, also when it went well.
pub(super) fn done(result: Result<(), impl Into<Status>>) -> Answer {
    match result {
        Ok(()) => Err(Status::Ok),
        Err(error) => Err(error.into()),
    }
}

fn attrs(request: u32, stat: &Stat) -> Answer {
    let mut packet = Packet::new(ATTRS, request);
    attributes::write(&mut packet, stat);
    Ok(packet)
}

/// One name without attributes.
pub(super) fn name(request: u32, name: &[u8]) -> Answer {
    let mut packet = Packet::new(NAME, request);
    packet.number(1);
    packet.string(name);
    packet.string(name);
    packet.number(0);
    Ok(packet)
}

/// A hard link that does not follow a symbolic one.
pub(super) fn hard_link(from: &Path, to: &Path) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())
}
