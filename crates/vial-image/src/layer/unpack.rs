//! Unpacks a layer into a directory that overlayfs can take as a lower layer.
//!
//! Whiteouts of the OCI image spec (`.wh.NAME`, `.wh..wh..opq`) become those of overlayfs (a character device 0:0, the
//! attribute `trusted.overlay.opaque`; kernel doc filesystems/overlayfs).
//!
//! # Invariants
//! Nothing is ever written outside of the directory. Every name is resolved by the kernel below the directory's own
//! descriptor (openat2(2), `RESOLVE_BENEATH`): names with `..` and ways through links that leave it are refused, also
//! those through links that the layer itself has made.
//!
//! # Who is not root
//! Everything is theirs then, whoever owns it in the archive, and what only root may make is left out: devices, attributes,
//! marks of overlayfs, set-uid bits (a program would run as whoever unpacked it). Programs of such a directory run, but
//! nothing can be mounted of it: what machines have as their root comes out of the archive itself, see
//! [`machine`](crate::machine).
//!
//! # On failure
//! The directory is half full; the caller unpacks aside and removes it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::write::{OPAQUE, lossy};
use crate::error::{Error, IoContext as _, Result};

/// How PAX headers spell extended attributes.
const ATTRIBUTE: &str = "SCHILY.xattr.";
/// What overlayfs would take as its own.
const OVERLAY: &str = "trusted.overlay.";

/// Unpacks the archive `title`; `target` must exist and be empty. Returns the directories that only the names of what
/// is in them mention, relative to `target`: mode and owner of these are whatever is right above another layer.
pub(crate) fn unpack(title: &str, reader: impl Read, target: &Path) -> Result<Vec<PathBuf>> {
    unpack_with(Rights::ours(), title, reader, target)
}

fn unpack_with(
    rights: Rights,
    title: &str,
    reader: impl Read,
    target: &Path,
) -> Result<Vec<PathBuf>> {
    let root = rustix::fs::open(target, DIRECTORY, Mode::empty()).at("open", target)?;
    let mut unpacking = Unpacking {
        title,
        target,
        root,
        rights,
        last: None,
        explicit: Vec::new(),
        implicit: BTreeSet::new(),
        buffer: vec![0; 256 << 10],
    };
    let mut archive = Archive::new(reader);
    let entries = archive
        .entries()
        .map_err(|error| unpacking.unread(&error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| unpacking.unread(&error))?;
        unpacking.entry(&mut entry)?;
    }
    unpacking.finish()
}

/// What the kernel lets us make of an archive's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Everything.
    Root,
    /// Plain files, directories and links, all of them our own.
    User,
}

impl Rights {
    /// Those of this process.
    pub(super) fn ours() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::Root
        } else {
            Self::User
        }
    }

    /// The mode that an entry gets. What is not root's own can at least be read, and removed again.
    pub(super) fn mode(self, mode: u32, kind: EntryType) -> u32 {
        match self {
            Self::Root => mode & 0o7777,
            Self::User if kind.is_dir() => mode & 0o777 | 0o700,
            Self::User => mode & 0o777 | 0o400,
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// A layer on its way into a directory.
struct Unpacking<'a> {
    title: &'a str,
    target: &'a Path,
    root: OwnedFd,
    rights: Rights,
    /// The directory that the last entry went into: the next one mostly goes there too.
    last: Option<(PathBuf, OwnedFd)>,
    /// Writing into a directory changes its time: directories get their attributes at the end, deepest first.
    explicit: Vec<(PathBuf, Attributes)>,
    implicit: BTreeSet<PathBuf>,
    buffer: Vec<u8>,
}

/// What a header says besides the content.
struct Attributes {
    mode: Mode,
    uid: u32,
    gid: u32,
    times: Timestamps,
    extended: Vec<(OsString, Vec<u8>)>,
}

impl Unpacking<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<()> {
        let shown = lossy(&entry.path_bytes());
        let path = entry.path().ok();
        let Some(name) = path.and_then(|path| clean(&path)) else {
            return Err(self.bad(format!("`{shown}` leads out of it")));
        };
        let kind = entry.header().entry_type();
        let attributes = self.attributes(entry, &shown)?;
        let Some(file) = name.file_name().map(OsStr::to_owned) else {
            // The layer's own root.
            if kind.is_dir() {
                self.explicit.push((name, attributes));
            }
            return Ok(());
        };
        let above = name.parent().unwrap_or(Path::new("")).to_path_buf();
        self.open(&above)?;
        let (_, parent) = self.last.as_ref().expect("it was just opened");
        if let Some(hidden) = file.as_bytes().strip_prefix(b".wh.") {
            return self.whiteout(parent, &name, hidden);
        }
        match kind {
            EntryType::Directory => {
                match rustix::fs::mkdirat(parent, &file, Mode::RWXU) {
                    Err(Errno::EXIST) => {
                        let present = rustix::fs::statat(parent, &file, AtFlags::SYMLINK_NOFOLLOW);
                        let present = present.at("read", self.target.join(&name))?;
                        if FileType::from_raw_mode(present.st_mode) != FileType::Directory {
                            self.replace(parent, &file, &name, |parent, file| {
                                rustix::fs::mkdirat(parent, file, Mode::RWXU)
                            })?;
                        }
                    }
                    made => made.at("create", self.target.join(&name))?,
                }
                self.implicit.remove(&name);
                self.explicit.push((name, attributes));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let made = self.replace(parent, &file, &name, |parent, file| {
                    rustix::fs::openat(parent, file, flags, Mode::RUSR | Mode::WUSR)
                })?;
                self.content(entry, made, &name, &attributes)?;
            }
            EntryType::Symlink => {
                let Some(to) = entry.link_name_bytes().filter(|to| !to.is_empty()) else {
                    return Err(self.bad(format!("`{shown}` is a link to nothing")));
                };
                self.replace(parent, &file, &name, |parent, file| {
                    rustix::fs::symlinkat(OsStr::from_bytes(&to), parent, file)
                })?;
                self.settle(parent, &file, &name, &attributes, false)?;
            }
            EntryType::Link => {
                let to = entry.link_name().ok().flatten();
                let Some(to) = to.and_then(|to| clean(&to)) else {
                    return Err(self.bad(format!("`{shown}` is a link that leads out of it")));
                };
                self.link(&name, &file, &to)?;
            }
            EntryType::Char | EntryType::Block if self.rights == Rights::User => {}
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let header = entry.header();
                let number = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
                let device = rustix::fs::makedev(
                    number(header.device_major()),
                    number(header.device_minor()),
                );
                let (kind, device) = match kind {
                    EntryType::Char => (FileType::CharacterDevice, device),
                    EntryType::Block => (FileType::BlockDevice, device),
                    _ => (FileType::Fifo, 0),
                };
                self.replace(parent, &file, &name, |parent, file| {
                    rustix::fs::mknodat(parent, file, kind, attributes.mode, device)
                })?;
                self.settle(parent, &file, &name, &attributes, true)?;
            }
            // Headers that are about other entries were taken by the reader; what else there is no image has.
            _ => {}
        }
        Ok(())
    }

    /// Opens the directory `path` below the target as [`Self::last`], making what is missing of it.
    fn open(&mut self, path: &Path) -> Result<()> {
        if self.last.as_ref().is_some_and(|(last, _)| last == path) {
            return Ok(());
        }
        let found = match self.beneath(path) {
            Err(Errno::NOENT) => {
                let mut so_far = PathBuf::new();
                for part in path.components() {
                    let above = self.beneath(&so_far);
                    let above = above.map_err(|error| self.no_way(path, error))?;
                    so_far.push(part);
                    match rustix::fs::mkdirat(&above, part.as_os_str(), Mode::from_raw_mode(0o755))
                    {
                        Err(Errno::EXIST) => {}
                        made => {
                            made.at("create", self.target.join(&so_far))?;
                            self.implicit.insert(so_far.clone());
                        }
                    }
                }
                self.beneath(path)
            }
            found => found,
        };
        let found = found.map_err(|error| self.no_way(path, error))?;
        self.last = Some((path.to_path_buf(), found));
        Ok(())
    }

    /// A directory of the target, by a name that cannot lead out of it.
    fn beneath(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), resolve)
    }

    fn no_way(&self, path: &Path, error: Errno) -> Error {
        let reason = match error {
            // openat2(2): an escape from the directory.
            Errno::XDEV => "leads out of it",
            Errno::NOTDIR | Errno::LOOP => "is not a directory",
            // A link to nothing: whatever it leads to is not made.
            Errno::NOENT => "is a link to nothing",
            _ => {
                return Error::Io {
                    operation: "open",
                    path: self.target.join(path),
                    source: error.into(),
                };
            }
        };
        self.bad(format!("`{}` {reason}", path.display()))
    }

    /// Makes something at a name; what has the name already goes, as the later entry of an archive wins.
    fn replace<T>(
        &self,
        parent: &OwnedFd,
        file: &OsStr,
        name: &Path,
        make: impl Fn(&OwnedFd, &OsStr) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let made = match make(parent, file) {
            Err(Errno::EXIST) => {
                match rustix::fs::unlinkat(parent, file, AtFlags::empty()) {
                    Err(Errno::ISDIR) => {
                        return Err(self.bad(format!("`{}` is a directory too", name.display())));
                    }
                    removed => removed.at("replace", self.target.join(name))?,
                }
                make(parent, file)
            }
            made => made,
        };
        made.at("create", self.target.join(name))
    }

    fn content<R: Read>(
        &mut self,
        entry: &mut Entry<'_, R>,
        file: OwnedFd,
        name: &Path,
        attributes: &Attributes,
    ) -> Result<()> {
        let mut file = File::from(file);
        let path = || self.target.join(name);
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            // What the disk refuses is the disk's fault, what cannot be read the archive's.
            let n = match entry.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.unread(&error)),
            };
            file.write_all(&buffer[..n]).at("write", path())?;
        }
        if self.rights == Rights::Root {
            let (uid, gid) = attributes.owner();
            rustix::fs::fchown(&file, Some(uid), Some(gid)).at("set the owner of", path())?;
        }
        for (key, value) in &attributes.extended {
            rustix::fs::fsetxattr(&file, key.as_os_str(), value, XattrFlags::empty())
                .at("set an attribute of", path())?;
        }
        // After the owner, whose change takes set-uid bits away.
        rustix::fs::fchmod(&file, attributes.mode).at("set the mode of", path())?;
        rustix::fs::futimens(&file, &attributes.times).at("set the time of", path())?;
        self.buffer = buffer;
        Ok(())
    }

    /// Owner, mode and time of what has no content.
    fn settle(
        &self,
        parent: &OwnedFd,
        file: &OsStr,
        name: &Path,
        attributes: &Attributes,
        mode: bool,
    ) -> Result<()> {
        let path = || self.target.join(name);
        let here = AtFlags::SYMLINK_NOFOLLOW;
        if self.rights == Rights::Root {
            let (uid, gid) = attributes.owner();
            rustix::fs::chownat(parent, file, Some(uid), Some(gid), here)
                .at("set the owner of", path())?;
        }
        if mode {
            // The umask took its part. It is no link: it was made just now, and nobody else is in this directory.
            rustix::fs::chmodat(parent, file, attributes.mode, AtFlags::empty())
                .at("set the mode of", path())?;
        }
        rustix::fs::utimensat(parent, file, &attributes.times, here).at("set the time of", path())
    }

    fn link(&mut self, name: &Path, file: &OsStr, to: &Path) -> Result<()> {
        let Some(target) = to.file_name() else {
            return Err(self.bad(format!("`{}` is a link to all of it", name.display())));
        };
        let above = to.parent().unwrap_or(Path::new(""));
        let missing = |_| {
            let (name, to) = (name.display(), to.display());
            self.bad(format!("`{name}` is a link to `{to}`, which is not there"))
        };
        let from = self.beneath(above).map_err(missing)?;
        rustix::fs::statat(&from, target, AtFlags::SYMLINK_NOFOLLOW).map_err(missing)?;
        let (_, parent) = self.last.as_ref().expect("the name's directory was opened");
        if name == to {
            return Ok(());
        }
        self.replace(parent, file, name, |parent, file| {
            rustix::fs::linkat(&from, target, parent, file, AtFlags::empty())
        })
    }

    fn whiteout(&self, parent: &OwnedFd, name: &Path, hidden: &[u8]) -> Result<()> {
        let path = || self.target.join(name);
        if hidden == b".wh..opq" {
            if self.rights == Rights::User {
                return Ok(());
            }
            return rustix::fs::fsetxattr(parent, OPAQUE, b"y", XattrFlags::empty())
                .at("mark as opaque", path());
        }
        // Notes of AUFS to itself (`.wh..wh.plnk`) hide nothing.
        if hidden.starts_with(b".wh.") {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(self.bad(format!("`{}` hides no file", name.display())));
        }
        let kind = FileType::CharacterDevice;
        let hidden = OsStr::from_bytes(hidden);
        match rustix::fs::mknodat(parent, hidden, kind, Mode::empty(), 0) {
            // What the layer has hides what is below it anyhow.
            Err(Errno::EXIST) => Ok(()),
            made => made.at("create", path()),
        }
    }

    fn attributes<R: Read>(&self, entry: &mut Entry<'_, R>, shown: &str) -> Result<Attributes> {
        let mut extended = Vec::new();
        let pax = entry
            .pax_extensions()
            .map_err(|error| self.unread(&error))?;
        for pair in pax.into_iter().flatten().flatten() {
            let Ok(key) = pair.key() else { continue };
            if let Some(key) = key.strip_prefix(ATTRIBUTE)
                && !key.starts_with(OVERLAY)
                && self.rights == Rights::Root
            {
                extended.push((key.into(), pair.value_bytes().to_vec()));
            }
        }
        let header = entry.header();
        let bad =
            |error: io::Error| self.bad(format!("`{shown}`: {}", vial_sys::error_chain(&error)));
        let id = |id: u64| u32::try_from(id).unwrap_or(0);
        let fields = header.as_old();
        let mode = blank_is_zero(&fields.mode, header.mode().map(u64::from)).map_err(bad)?;
        let uid = blank_is_zero(&fields.uid, header.uid()).map_err(bad)?;
        let gid = blank_is_zero(&fields.gid, header.gid()).map_err(bad)?;
        let mtime = i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0);
        Ok(Attributes {
            mode: Mode::from_raw_mode(self.rights.mode(id(mode), header.entry_type())),
            uid: id(uid),
            gid: id(gid),
            times: Timestamps {
                last_access: Timespec {
                    tv_sec: 0,
                    tv_nsec: UTIME_OMIT,
                },
                last_modification: Timespec {
                    tv_sec: mtime,
                    tv_nsec: 0,
                },
            },
            extended,
        })
    }

    /// Directories' attributes, deepest first.
    fn finish(self) -> Result<Vec<PathBuf>> {
        for (name, attributes) in self.explicit.iter().rev() {
            let path = || self.target.join(name);
            let directory = match self.beneath(name) {
                // It was replaced by something later.
                Err(Errno::NOTDIR | Errno::NOENT) => continue,
                directory => directory.map_err(|error| self.no_way(name, error))?,
            };
            if self.rights == Rights::Root {
                let (uid, gid) = attributes.owner();
                rustix::fs::fchown(&directory, Some(uid), Some(gid))
                    .at("set the owner of", path())?;
            }
            for (key, value) in &attributes.extended {
                rustix::fs::fsetxattr(&directory, key.as_os_str(), value, XattrFlags::empty())
                    .at("set an attribute of", path())?;
            }
            rustix::fs::fchmod(&directory, attributes.mode).at("set the mode of", path())?;
            rustix::fs::futimens(&directory, &attributes.times).at("set the time of", path())?;
        }
        Ok(self.implicit.into_iter().collect())
    }

    fn bad(&self, reason: String) -> Error {
        Error::BadArchive {
            archive: self.title.to_owned(),
            reason,
        }
    }

    /// The archive could not be read on; the tar crate's own message says only which entry.
    fn unread(&self, error: &io::Error) -> Error {
        self.bad(vial_sys::error_chain(error))
    }
}

impl Attributes {
    fn owner(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.uid), Gid::from_raw(self.gid))
    }
}

/// The entry's name relative to the target; `None` when it has a part that is not a plain name.
pub(crate) fn safe_name<R: Read>(entry: &Entry<'_, R>) -> Option<PathBuf> {
    clean(&entry.path().ok()?)
}

/// A name relative to the target; `None` when it has a part that is not a plain name.
pub(crate) fn clean(path: &Path) -> Option<PathBuf> {
    let mut name = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => name.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(name)
}

/// A number that was left blank is zero, as GNU tar and Go read it (ustar: numbers end with NUL or space).
fn blank_is_zero(field: &[u8], number: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        Ok(0)
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::super::TarWriter;
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};

    fn round_trip(writer: TarWriter<Vec<u8>>) -> Result<tempfile::TempDir> {
        let bytes = writer.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        unpack("test", &bytes[..], dir.path()).map(|_| dir)
    }

    fn raw(name: &str, kind: EntryType, link: Option<&str>) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(0);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        if let Some(link) = link {
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, std::io::empty()).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_tree_survives() {
        let source = tempfile::tempdir().unwrap();
        fs::create_dir(source.path().join("d")).unwrap();
        fs::write(source.path().join("d/f"), "content").unwrap();
        fs::set_permissions(source.path().join("d/f"), Permissions::from_mode(0o4755)).unwrap();
        fs::hard_link(source.path().join("d/f"), source.path().join("h")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", source.path().join("s")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            source.path().join("p"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let mut writer = TarWriter::new(Vec::new());
        writer.tree("pre", source.path()).unwrap();
        let dir = round_trip(writer).unwrap();
        let at = |name: &str| {
            dir.path()
                .join("pre")
                .join(name)
                .symlink_metadata()
                .unwrap()
        };
        let mode = Rights::ours().mode(0o4755, EntryType::Regular);
        assert_eq!(at("d/f").mode() & 0o7777, mode);
        assert_eq!(at("d/f").mtime(), 1_767_225_600);
        assert_eq!(at("d").mtime(), 1_767_225_600);
        assert_eq!(at("d/f").ino(), at("h").ino());
        assert!(at("p").file_type().is_fifo());
        assert_eq!(
            fs::read_link(dir.path().join("pre/s")).unwrap(),
            Path::new("/etc/passwd")
        );
    }

    #[test]
    fn who_is_not_root_gets_their_own_files_without_what_only_root_may_make() {
        let mut builder = tar::Builder::new(Vec::new());
        builder
            .append_pax_extensions([("SCHILY.xattr.security.capability", &b"\x01"[..])])
            .unwrap();
        for (name, kind, mode) in [
            ("su", EntryType::Regular, 0o4711),
            ("etc", EntryType::Directory, 0o2555),
            ("etc/shadow", EntryType::Regular, 0),
            ("dev", EntryType::Directory, 0o755),
            ("dev/kvm", EntryType::Char, 0o660),
            ("dev/.wh.gone", EntryType::Regular, 0o644),
            ("dev/.wh..wh..opq", EntryType::Regular, 0o644),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(12345);
            header.set_gid(12345);
            header.set_size(0);
            builder
                .append_data(&mut header, name, std::io::empty())
                .unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        let dir = tempfile::tempdir().unwrap();
        unpack_with(Rights::User, "test", &bytes[..], dir.path()).unwrap();
        let at = |name: &str| dir.path().join(name).symlink_metadata().unwrap();
        assert_eq!(at("su").mode() & 0o7777, 0o711);
        assert_eq!(at("su").uid(), rustix::process::geteuid().as_raw());
        assert_eq!(at("etc").mode() & 0o7777, 0o755);
        assert_eq!(at("etc/shadow").mode() & 0o7777, 0o400);
        let attribute = rustix::fs::lgetxattr(
            dir.path().join("su"),
            "security.capability",
            &mut [0; 8][..],
        );
        assert_eq!(attribute, Err(Errno::NODATA));
        assert!(!dir.path().join("dev/kvm").exists());
        // Everybody may make it (mknod(2), Linux 5.8).
        assert!(at("dev/gone").file_type().is_char_device());
    }

    #[test]
    fn whiteouts_become_those_of_overlayfs() {
        if !rustix::process::geteuid().is_root() {
            return vial_testing::skip("device files need root");
        }
        let mut writer = TarWriter::new(Vec::new());
        writer
            .file("a/.wh.gone", 0o644, 0, std::io::empty())
            .unwrap();
        writer
            .file("b/.wh..wh..opq", 0o644, 0, std::io::empty())
            .unwrap();
        let dir = round_trip(writer).unwrap();
        let gone = dir.path().join("a/gone").symlink_metadata().unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        let mut value = [0; 8];
        assert_eq!(
            rustix::fs::lgetxattr(dir.path().join("b"), OPAQUE, &mut value[..]),
            Ok(1)
        );
        // And back again.
        let mut writer = TarWriter::new(Vec::new());
        writer.tree("", dir.path()).unwrap();
        let bytes = writer.finish().unwrap();
        let names: Vec<_> = Archive::new(&bytes[..])
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["a", "a/.wh.gone", "b", "b/.wh..wh..opq"]);
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("in");
        fs::create_dir(&target).unwrap();
        let error = unpack(
            "evil",
            &raw("../out", EntryType::Regular, None)[..],
            &target,
        )
        .unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
        assert!(!dir.path().join("out").exists());
    }

    #[test]
    fn links_that_lead_out_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("in");
        fs::create_dir(&target).unwrap();
        let mut bytes = raw("link", EntryType::Symlink, Some(".."));
        bytes.truncate(512);
        bytes.extend(raw("link/out", EntryType::Regular, None));
        assert!(unpack("evil", &bytes[..], &target).is_err());
        assert!(!dir.path().join("out").exists());
        let mut bytes = raw("link2", EntryType::Symlink, Some(".."));
        bytes.truncate(512);
        bytes.extend(raw("link2/fifo", EntryType::Fifo, None));
        assert!(unpack("evil", &bytes[..], &target).is_err());
        assert!(!dir.path().join("fifo").exists());
    }

    #[test]
    fn an_owner_that_was_left_blank_is_root_and_one_that_is_no_number_is_refused() {
        let owned = |owner: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_path("f").unwrap();
            header.set_mode(0o644);
            header.set_size(0);
            header.as_old_mut().uid[..owner.len()].copy_from_slice(owner);
            header.set_cksum();
            let mut builder = tar::Builder::new(Vec::new());
            builder.append(&header, std::io::empty()).unwrap();
            builder.into_inner().unwrap()
        };
        let dir = tempfile::tempdir().unwrap();
        unpack("blank", &owned(b"")[..], dir.path()).unwrap();
        assert!(dir.path().join("f").exists());
        assert!(unpack("word", &owned(b"root")[..], dir.path()).is_err());
    }

    #[test]
    fn a_truncated_archive_is_an_error() {
        let mut writer = TarWriter::new(Vec::new());
        writer.file("f", 0o644, 5000, &[1; 5000][..]).unwrap();
        let bytes = writer.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let error = unpack("short", &bytes[..2000], dir.path()).unwrap_err();
        assert!(error.to_string().contains("cannot unpack short"), "{error}");
    }
}
