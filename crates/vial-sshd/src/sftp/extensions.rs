//! OpenSSH's extensions of the protocol (its file PROTOCOL, 4.3 and following).

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfs;
use rustix::io::Errno;

use super::LARGEST;
use super::attributes::Target;
use super::requests::{
    Answer, MOST_DATA, Server, done, hard_link, name, path, real_path, said, string,
};
use super::status::Status;
use super::wire::{Fields, Packet};

/// SSH_FXP_EXTENDED_REPLY.
const REPLY: u8 = 201;
/// What copy-data copies at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Names and versions.
pub(super) const KNOWN: [(&str, &str); 9] = [
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("fstatvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("lsetstat@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
    ("copy-data", "1"),
];

/// Does one of them.
pub(super) fn request(server: &mut Server, request: u32, fields: &mut Fields<'_>) -> Answer {
    match string(fields)? {
        b"posix-rename@openssh.com" => {
            let (from, to) = (path(fields)?, path(fields)?);
            done(rustix::fs::rename(from, to))
        }
        b"statvfs@openssh.com" => Ok(space(request, &rustix::fs::statvfs(path(fields)?)?)),
        b"fstatvfs@openssh.com" => {
            let fd = server.handles.file(string(fields)?)?.0;
            Ok(space(request, &rustix::fs::fstatvfs(fd)?))
        }
        b"hardlink@openssh.com" => {
            let (from, to) = (path(fields)?, path(fields)?);
            done(hard_link(from, to))
        }
        b"fsync@openssh.com" => done(rustix::fs::fsync(server.handles.file(string(fields)?)?.0)),
        b"lsetstat@openssh.com" => {
            let path = path(fields)?;
            done(said(fields)?.apply(Target::Link(path)))
        }
        b"limits@openssh.com" => Ok(limits(request)),
        b"expand-path@openssh.com" => {
            let expanded = expand(path(fields)?)?;
            let real = real_path(&expanded).unwrap_or(expanded);
            name(request, real.as_os_str().as_encoded_bytes())
        }
        b"copy-data" => {
            let (from, _) = server.handles.file(string(fields)?)?;
            let number = |fields: &mut Fields<'_>| fields.long().ok_or(Status::Bad);
            let (from_at, length) = (number(fields)?, number(fields)?);
            let (to, _) = server.handles.file(string(fields)?)?;
            let to_at = number(fields)?;
            done(copy(from, from_at, length, to, to_at))
        }
        _ => Err(Status::Unsupported),
    }
}

fn space(request: u32, vfs: &StatVfs) -> Packet {
    let mut packet = Packet::new(REPLY, request);
    let flag = |on: bool, bit: u64| if on { bit } else { 0 };
    let flags = vfs.f_flag;
    for number in [
        vfs.f_bsize,
        vfs.f_frsize,
        vfs.f_blocks,
        vfs.f_bfree,
        vfs.f_bavail,
        vfs.f_files,
        vfs.f_ffree,
        vfs.f_favail,
        vfs.f_fsid,
        flag(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), 1)
            | flag(flags.contains(rustix::fs::StatVfsMountFlags::NOSUID), 2),
        vfs.f_namemax,
    ] {
        packet.long(number);
    }
    packet
}

fn limits(request: u32) -> Packet {
    let mut packet = Packet::new(REPLY, request);
    packet.long(LARGEST as u64);
    packet.long(MOST_DATA.into());
    packet.long(MOST_DATA.into());
    // No limit of handles that a client has to know.
    packet.long(0);
    packet
}

/// `~` and `~/…` are in the home; `~NAME` is not looked up.
fn expand(path: &Path) -> Result<PathBuf, Status> {
    let home = || std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from);
    match path.strip_prefix("~") {
        Ok(rest) => Ok(home().join(rest)),
        Err(_) if path.as_os_str().as_encoded_bytes().starts_with(b"~") => Err(Errno::NOENT.into()),
        Err(_) => Ok(path.to_owned()),
    }
}

/// A length of 0 is everything.
fn copy(
    from: &OwnedFd,
    mut at: u64,
    length: u64,
    to: &OwnedFd,
    mut to_at: u64,
) -> Result<(), Errno> {
    let mut left = if length == 0 { u64::MAX } else { length };
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let read = rustix::io::pread(from.as_fd(), &mut buffer[..most], at)?;
        if read == 0 {
            // Less than was wanted is an error, as in OpenSSH's server.
            return if length == 0 { Ok(()) } else { Err(Errno::IO) };
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let written = rustix::io::pwrite(to.as_fd(), rest, to_at)?;
            rest = &rest[written..];
            to_at += written as u64;
        }
        at += read as u64;
        left -= read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_expanded() {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or("/".into()));
        assert_eq!(expand(Path::new("~")), Ok(home.clone()));
        assert_eq!(expand(Path::new("~/a")), Ok(home.join("a")));
        assert_eq!(expand(Path::new("/a/~")), Ok("/a/~".into()));
        assert_eq!(expand(Path::new("~ann")), Err(Errno::NOENT.into()));
    }

    #[test]
    fn a_copy_begins_and_ends_where_it_should() {
        use std::io::{Read as _, Seek as _, Write as _};
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all(b"0123456789").unwrap();
        to.write_all(b"abcdefghij").unwrap();
        let (from, to_fd) = (OwnedFd::from(from), OwnedFd::from(to.try_clone().unwrap()));
        copy(&from, 2, 3, &to_fd, 1).unwrap();
        assert_eq!(copy(&from, 8, 5, &to_fd, 20), Err(Errno::IO));
        let mut text = String::new();
        to.rewind().unwrap();
        to.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("a234efghij"), "{text}");
    }
}
