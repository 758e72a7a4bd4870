//! A tree of files that a node writes, read on the host: whatever the node puts there, no link leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;

use rustix::fs::{CWD, Dir, Mode, OFlags, ResolveFlags, openat, openat2};

/// A directory of the host, below which is what somebody else wrote.
pub(super) struct Tree(OwnedFd);

impl Tree {
    /// Opens a directory that is vial's own.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// What is in a directory below, by names, sorted.
    pub(super) fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let directory = self.inside(path, OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(directory)? {
            match entry?.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort();
        Ok(names)
    }

    /// The last bytes of a file below, in whole lines; what is no text is replaced.
    pub(super) fn tail(&self, path: &str, most: u64) -> io::Result<String> {
        // A pipe would have to be waited for.
        let file = File::from(self.inside(path, OFlags::NONBLOCK | OFlags::NOCTTY)?);
        tail(&file, most)
    }

    /// Beneath, without any link (openat2(2)).
    fn inside(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.0, path, flags, Mode::empty(), resolve)?)
    }
}

/// The last bytes of a file, in whole lines.
pub(super) fn tail(file: &File, most: u64) -> io::Result<String> {
    let found = file.metadata()?;
    if !found.is_file() {
        let kind = found.file_type();
        let what = if kind.is_fifo() { "a pipe" } else { "no file" };
        return Err(io::Error::other(format!("it is {what}")));
    }
    let begin = found.len().saturating_sub(most);
    let mut bytes = vec![0; usize::try_from(found.len() - begin).unwrap_or_default()];
    let mut read = 0;
    while read < bytes.len() {
        // It may have been cut meanwhile.
        match file.read_at(&mut bytes[read..], begin + read as u64)? {
            0 => break,
            length => read += length,
        }
    }
    bytes.truncate(read);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if begin == 0 {
        return Ok(text);
    }
    let whole = text.split_once('\n').map_or("", |(_, whole)| whole);
    Ok(format!("(the first {begin} bytes are left out)\n{whole}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn no_link_leads_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(directory.path().join("secret"), "no").unwrap();
        fs::write(root.join("sub/a.log"), "one\ntwo\n").unwrap();
        std::os::unix::fs::symlink("../../secret", root.join("sub/link.log")).unwrap();
        std::os::unix::fs::symlink("/", root.join("out")).unwrap();
        let tree = Tree::open(&root).unwrap();
        assert_eq!(tree.names("sub").unwrap(), ["a.log", "link.log"]);
        assert_eq!(tree.tail("sub/a.log", 100).unwrap(), "one\ntwo\n");
        let cut = "(the first 3 bytes are left out)\ntwo\n";
        assert_eq!(tree.tail("sub/a.log", 5).unwrap(), cut);
        for path in ["sub/link.log", "../secret", "out/etc/passwd", "sub"] {
            assert!(tree.tail(path, 100).is_err(), "{path}");
        }
        assert!(tree.names("out").is_err());
    }
}
