//! Writes archives whose bytes depend on nothing but their content.
//!
//! Names are sorted, every time is [`EPOCH`], owners have numbers and no names. What stays: modes, owners, links,
//! devices and the extended attributes that change how a program runs. What overlayfs writes for a removed file or a
//! replaced directory (kernel doc filesystems/overlayfs, "whiteouts and opaque directories") becomes what the OCI image
//! spec has for it, `.wh.NAME` and `.wh..wh..opq`; unpacking turns it back.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::error::{IoContext, Result};

/// The time of every file in a layer: 2026-01-01T00:00:00Z, in seconds since 1970.
pub(crate) const EPOCH: u64 = 1_767_225_600;

/// Extended attributes that a layer keeps.
const KEPT_ATTRIBUTES: [&str; 1] = ["security.capability"];
/// On a directory that hides those below it.
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";

/// A deterministic archive in the making.
pub(crate) struct TarWriter<W: Write> {
    builder: tar::Builder<W>,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self {
            builder: tar::Builder::new(writer),
        }
    }

    /// A directory, root's, 0755; `path` is relative.
    pub(crate) fn directory(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut header = header(EntryType::Directory, 0o755, 0, 0);
        self.builder
            .append_data(&mut header, path, io::empty())
            .at("archive", path)
    }

    /// All directories above `path`, from the top.
    pub(crate) fn parents(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let mut parents: Vec<_> = path
            .as_ref()
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty())
            .collect();
        parents.reverse();
        parents
            .into_iter()
            .try_for_each(|parent| self.directory(parent))
    }

    /// A file, root's.
    pub(crate) fn file(
        &mut self,
        path: impl AsRef<Path>,
        mode: u32,
        size: u64,
        content: impl Read,
    ) -> Result<()> {
        let path = path.as_ref();
        let mut header = header(EntryType::Regular, mode, 0, 0);
        header.set_size(size);
        self.builder
            .append_data(&mut header, path, content)
            .at("archive", path)
    }

    /// A symbolic link, root's.
    pub(crate) fn symlink(
        &mut self,
        path: impl AsRef<Path>,
        target: impl AsRef<Path>,
    ) -> Result<()> {
        let mut header = header(EntryType::Symlink, 0o777, 0, 0);
        self.builder
            .append_link(&mut header, path.as_ref(), target.as_ref())
            .at("archive", path.as_ref())
    }

    /// Everything below `root`, at `prefix` (which may be empty) in the archive.
    pub(crate) fn tree(&mut self, prefix: impl AsRef<Path>, root: &Path) -> Result<()> {
        self.walk(prefix.as_ref(), root, &mut HashMap::new())
    }

    fn walk(
        &mut self,
        prefix: &Path,
        directory: &Path,
        links: &mut HashMap<(u64, u64), PathBuf>,
    ) -> Result<()> {
        let mut entries: Vec<_> = fs::read_dir(directory)
            .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
            .at("read", directory)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), prefix.join(entry.file_name()));
            let metadata = path.symlink_metadata().at("read", &path)?;
            self.entry(&path, &name, &metadata, links)?;
            if metadata.is_dir() {
                if rustix::fs::lgetxattr(&path, OPAQUE, &mut [0; 8][..]).is_ok() {
                    self.file(name.join(".wh..wh..opq"), 0o644, 0, io::empty())?;
                }
                self.walk(&name, &path, links)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &Path,
        name: &Path,
        metadata: &Metadata,
        links: &mut HashMap<(u64, u64), PathBuf>,
    ) -> Result<()> {
        let kind = metadata.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        if kind.is_char_device() && metadata.rdev() == 0 {
            let mut hidden = OsStr::new(".wh.").to_owned();
            hidden.push(name.file_name().unwrap_or_default());
            return self.file(name.with_file_name(hidden), 0o644, 0, io::empty());
        }
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        if !kind.is_dir() && metadata.nlink() > 1 {
            if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
                let mut header = header(EntryType::Link, mode, uid, gid);
                return self
                    .builder
                    .append_link(&mut header, name, first)
                    .at("archive", path);
            }
            links.insert((metadata.dev(), metadata.ino()), name.to_path_buf());
        }
        self.attributes(path)?;
        if kind.is_symlink() {
            let target = fs::read_link(path).at("read", path)?;
            let mut header = header(EntryType::Symlink, 0o777, uid, gid);
            self.builder
                .append_link(&mut header, name, target)
                .at("archive", path)
        } else if kind.is_file() {
            let mut header = header(EntryType::Regular, mode, uid, gid);
            header.set_size(metadata.len());
            let file = File::open(path).at("open", path)?;
            self.builder
                .append_data(
                    &mut header,
                    name,
                    Exact {
                        inner: file,
                        left: metadata.len(),
                    },
                )
                .at("archive", path)
        } else {
            let entry_type = match () {
                () if kind.is_dir() => EntryType::Directory,
                () if kind.is_char_device() => EntryType::Char,
                () if kind.is_block_device() => EntryType::Block,
                () => EntryType::Fifo,
            };
            let mut header = header(entry_type, mode, uid, gid);
            if kind.is_char_device() || kind.is_block_device() {
                header
                    .set_device_major(rustix::fs::major(metadata.rdev()))
                    .at("archive", path)?;
                header
                    .set_device_minor(rustix::fs::minor(metadata.rdev()))
                    .at("archive", path)?;
            }
            self.builder
                .append_data(&mut header, name, io::empty())
                .at("archive", path)
        }
    }

    /// Extended attributes precede their entry, as `SCHILY.xattr.` records of a PAX header.
    fn attributes(&mut self, path: &Path) -> Result<()> {
        let mut kept = Vec::new();
        for name in KEPT_ATTRIBUTES {
            let mut value = [0; 256];
            match rustix::fs::lgetxattr(path, name, &mut value[..]) {
                Ok(size) => kept.push((format!("SCHILY.xattr.{name}"), value[..size].to_vec())),
                Err(
                    rustix::io::Errno::NODATA
                    | rustix::io::Errno::OPNOTSUPP
                    | rustix::io::Errno::PERM,
                ) => {}
                Err(error) => return Err(error).at("read the attributes of", path),
            }
        }
        if kept.is_empty() {
            return Ok(());
        }
        self.builder
            .append_pax_extensions(
                kept.iter()
                    .map(|(key, value)| (key.as_str(), value.as_slice())),
            )
            .at("archive", path)
    }

    /// Ends the archive.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.builder.into_inner()
    }
}

fn header(entry_type: EntryType, mode: u32, uid: u32, gid: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_mtime(EPOCH);
    header.set_size(0);
    header
}

/// Exactly as many bytes as the header says, whatever happens to the file meanwhile: the archive stays readable, and a
/// file that became shorter is an error.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was read",
            ));
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// A name as it stands in an archive, for messages.
pub(super) fn lossy(bytes: &[u8]) -> String {
    OsStr::from_bytes(bytes).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::time::{Duration, SystemTime};

    fn archive(root: &Path) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        writer.tree("", root).unwrap();
        writer.finish().unwrap()
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        tar::Archive::new(bytes)
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// The order and the time of writing files leave no trace.
        #[test]
        fn same_content_same_bytes(mut files in proptest::collection::btree_map("[a-z]{1,8}(/[a-z]{1,8}){0,2}", (proptest::collection::vec(any::<u8>(), 0..2000), 0u32..0o1000), 0..8)) {
            // A name that is also a directory of another cannot be made.
            let all: Vec<String> = files.keys().cloned().collect();
            files.retain(|name, _| !all.iter().any(|other| other.starts_with(&format!("{name}/"))));
            let make = |forward: bool, age: u64| {
                let dir = tempfile::tempdir().unwrap();
                let mut list: Vec<_> = files.iter().collect();
                if !forward { list.reverse(); }
                for (name, (content, mode)) in list {
                    let path = dir.path().join(name);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(&path, content).unwrap();
                    fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                    File::open(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
                }
                archive(dir.path())
            };
            prop_assert_eq!(make(true, 0), make(false, 1_000_000));
        }
    }

    #[test]
    fn sorts_names_and_fixes_times() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a/z", "a/b", "c"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let bytes = archive(dir.path());
        assert_eq!(names(&bytes), ["a", "a/b", "a/z", "b", "c"]);
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            assert_eq!(entry.unwrap().header().mtime().unwrap(), EPOCH);
        }
    }

    #[test]
    fn hard_links_are_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("one"), vec![7; 10_000]).unwrap();
        fs::hard_link(dir.path().join("one"), dir.path().join("two")).unwrap();
        symlink("one", dir.path().join("sym")).unwrap();
        let bytes = archive(dir.path());
        let mut archive = tar::Archive::new(&bytes[..]);
        let kinds: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().header().entry_type())
            .collect();
        assert_eq!(
            kinds,
            [EntryType::Regular, EntryType::Symlink, EntryType::Link]
        );
    }

    #[test]
    fn long_names_survive() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir
            .path()
            .join("x".repeat(90))
            .join("y".repeat(90))
            .join("z".repeat(90));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "").unwrap();
        assert_eq!(
            names(&archive(dir.path())).last().unwrap().len(),
            90 * 3 + 4
        );
    }
}
