//! Unpacks a layer into a directory that overlayfs can take as a lower layer.
//!
//! Whiteouts of the OCI image spec (`.wh.NAME`, `.wh..wh..opq`) become those of overlayfs (a character device 0:0, the
//! attribute `trusted.overlay.opaque`; kernel doc filesystems/overlayfs). Nothing is ever written outside of the
//! directory: names with `..` and ways through symbolic links that leave it are refused.
//!
//! # On failure
//! The directory is half full; the caller unpacks aside and removes it.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode};
use tar::{Archive, Entry, EntryType};

use super::write::{OPAQUE, lossy};
use crate::error::{Error, IoContext, Result};

/// Unpacks the archive `title`; `target` must exist and be empty.
pub(crate) fn unpack(title: &str, reader: impl Read, target: &Path) -> Result<()> {
    let bad = |reason: String| Error::BadArchive {
        archive: title.to_owned(),
        reason,
    };
    let mut archive = Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(rustix::process::geteuid().is_root());
    archive.set_preserve_mtime(true);
    archive.set_unpack_xattrs(true);
    // Writing into a directory changes its time: directories get theirs at the end, deepest first.
    let mut directories: Vec<(PathBuf, u64, u32)> = Vec::new();
    for entry in archive.entries().map_err(|error| bad(error.to_string()))? {
        let mut entry = entry.map_err(|error| bad(error.to_string()))?;
        let name = safe_name(&entry)
            .ok_or_else(|| bad(format!("`{}` leads out of it", lossy(&entry.path_bytes()))))?;
        if name.as_os_str().is_empty() {
            continue;
        }
        if let Some(hidden) = name
            .file_name()
            .and_then(|file| file.as_bytes().strip_prefix(b".wh."))
        {
            whiteout(target, &name, hidden)?;
            continue;
        }
        match entry.header().entry_type() {
            EntryType::Char | EntryType::Block | EntryType::Fifo => device(&entry, target, &name)?,
            kind => {
                let unpacked = entry
                    .unpack_in(target)
                    .map_err(|error| match error.kind() {
                        // What the disk refuses is the disk's fault, not the archive's.
                        std::io::ErrorKind::StorageFull => Error::Io {
                            operation: "unpack to",
                            path: target.to_path_buf(),
                            source: error,
                        },
                        _ => bad(describe(&error)),
                    })?;
                if !unpacked {
                    return Err(bad(format!("`{}` leads out of it", name.display())));
                }
                if kind.is_dir() {
                    let mode = entry
                        .header()
                        .mode()
                        .map_err(|error| bad(error.to_string()))?;
                    directories.push((
                        target.join(&name),
                        entry.header().mtime().unwrap_or(0),
                        mode & 0o7777,
                    ));
                }
            }
        }
    }
    for (path, mtime, mode) in directories.into_iter().rev() {
        fs::set_permissions(&path, Permissions::from_mode(mode)).at("set the mode of", &path)?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(mtime);
        File::open(&path)
            .and_then(|dir| dir.set_times(FileTimes::new().set_modified(time)))
            .at("set the time of", &path)?;
    }
    Ok(())
}

/// The entry's name relative to the target; `None` when it has a part that is not a plain name.
pub(super) fn safe_name<R: Read>(entry: &Entry<'_, R>) -> Option<PathBuf> {
    let path = entry.path().ok()?;
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

/// The directory that an entry goes into, which must be a real directory below the target.
fn parent(target: &Path, name: &Path) -> Result<PathBuf> {
    let mut path = target.to_path_buf();
    for part in name.parent().into_iter().flat_map(Path::components) {
        path.push(part);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(Error::BadArchive {
                    archive: name.display().to_string(),
                    reason: format!("`{}` is not a directory", path.display()),
                });
            }
            Err(_) => fs::create_dir(&path).at("create", &path)?,
        }
    }
    Ok(path)
}

fn whiteout(target: &Path, name: &Path, hidden: &[u8]) -> Result<()> {
    let directory = parent(target, name)?;
    if hidden == b".wh..opq" {
        return rustix::fs::setxattr(&directory, OPAQUE, b"y", rustix::fs::XattrFlags::empty())
            .at("mark as opaque", &directory);
    }
    let path = directory.join(std::ffi::OsStr::from_bytes(hidden));
    rustix::fs::mknodat(
        CWD,
        &path,
        FileType::CharacterDevice,
        Mode::empty(),
        rustix::fs::makedev(0, 0),
    )
    .at("create", &path)
}

fn device<R: Read>(entry: &Entry<'_, R>, target: &Path, name: &Path) -> Result<()> {
    let path = parent(target, name)?.join(name.file_name().unwrap_or_default());
    let header = entry.header();
    let number = |field: std::io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
    let (kind, device) = match header.entry_type() {
        EntryType::Char => (
            FileType::CharacterDevice,
            rustix::fs::makedev(number(header.device_major()), number(header.device_minor())),
        ),
        EntryType::Block => (
            FileType::BlockDevice,
            rustix::fs::makedev(number(header.device_major()), number(header.device_minor())),
        ),
        _ => (FileType::Fifo, 0),
    };
    let mode = Mode::from_raw_mode(header.mode().at("read the mode of", name)? & 0o7777);
    rustix::fs::mknodat(CWD, &path, kind, mode, device).at("create", &path)?;
    let (uid, gid) = (
        header.uid().at("read the owner of", name)?,
        header.gid().at("read the owner of", name)?,
    );
    let id = |id: u64| u32::try_from(id).unwrap_or(0);
    std::os::unix::fs::lchown(&path, Some(id(uid)), Some(id(gid))).at("set the owner of", &path)?;
    // The umask took its part.
    if kind != FileType::CharacterDevice || device != 0 {
        fs::set_permissions(&path, Permissions::from_mode(mode.as_raw_mode()))
            .at("set the mode of", &path)?;
    }
    Ok(())
}

/// The whole chain: the tar crate's own message says only which entry.
fn describe(error: &std::io::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::TarWriter;
    use super::*;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

    fn round_trip(writer: TarWriter<Vec<u8>>) -> Result<tempfile::TempDir> {
        let bytes = writer.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        unpack("test", &bytes[..], dir.path()).map(|()| dir)
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
            CWD,
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
        assert_eq!(at("d/f").mode() & 0o7777, 0o4755);
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
    fn a_truncated_archive_is_an_error() {
        let mut writer = TarWriter::new(Vec::new());
        writer.file("f", 0o644, 5000, &[1; 5000][..]).unwrap();
        let bytes = writer.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let error = unpack("short", &bytes[..2000], dir.path()).unwrap_err();
        assert!(error.to_string().contains("cannot unpack short"), "{error}");
    }
}
