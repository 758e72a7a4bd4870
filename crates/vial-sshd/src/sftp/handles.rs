//! Open files and directories, by the names that clients use for them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::Dir;

use super::status::Status;

/// How many may be open at once.
const MOST: usize = 4096;

/// Something open.
#[derive(Debug)]
pub(super) enum Handle {
    File {
        fd: OwnedFd,
        /// Offsets do not count: everything goes to the end.
        append: bool,
    },
    Directory {
        entries: Dir,
        path: PathBuf,
    },
}

/// All that is open.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: HashMap<u64, Handle>,
    next: u64,
}

impl Handles {
    /// Keeps it, and names it.
    pub(super) fn add(&mut self, handle: Handle) -> Result<[u8; 8], Status> {
        if self.open.len() >= MOST {
            return Err(rustix::io::Errno::MFILE.into());
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, handle);
        Ok(number.to_be_bytes())
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Result<(), Status> {
        let handle = number(name).and_then(|number| self.open.remove(&number));
        handle
            .map(drop)
            .ok_or(Status::Failed(rustix::io::Errno::BADF))
    }

    pub(super) fn file(&self, name: &[u8]) -> Result<(&OwnedFd, bool), Status> {
        match number(name).and_then(|number| self.open.get(&number)) {
            Some(Handle::File { fd, append }) => Ok((fd, *append)),
            _ => Err(rustix::io::Errno::BADF.into()),
        }
    }

    pub(super) fn directory(&mut self, name: &[u8]) -> Result<(&mut Dir, &PathBuf), Status> {
        match number(name).and_then(|number| self.open.get_mut(&number)) {
            Some(Handle::Directory { entries, path }) => Ok((entries, path)),
            _ => Err(rustix::io::Errno::BADF.into()),
        }
    }
}

fn number(name: &[u8]) -> Option<u64> {
    name.try_into().ok().map(u64::from_be_bytes)
}
