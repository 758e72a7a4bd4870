//! Compares a layer's archive with the directory it was unpacked to.
//!
//! What unpacking sets is looked at: kind, mode, owner, content, links, device numbers, kept attributes; and that there
//! is nothing more. What who is not root could not set is not missed. Times are not: nodes hard-link some of the files, and nobody depends on them.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use super::unpack::{Rights, safe_name};
use super::write::{OPAQUE, lossy};
use crate::error::{Error, IoContext, Result};

/// A path that is not as the archive has it, and in what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// In the directory.
    pub(crate) path: PathBuf,
    /// `its content differs`.
    pub(crate) reason: String,
}

/// The first difference between the archive `title` and `directory`.
pub(crate) fn compare(
    title: &str,
    reader: impl Read,
    directory: &Path,
) -> Result<Option<Difference>> {
    let bad = |reason: String| Error::BadArchive {
        archive: title.to_owned(),
        reason,
    };
    let mut archive = Archive::new(reader);
    let mut seen = HashSet::new();
    for entry in archive.entries().map_err(|error| bad(error.to_string()))? {
        let mut entry = entry.map_err(|error| bad(error.to_string()))?;
        let name = safe_name(&entry)
            .ok_or_else(|| bad(format!("`{}` leads out of it", lossy(&entry.path_bytes()))))?;
        let (name, kind) = place(name, &entry);
        let path = directory.join(&name);
        let differs = match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_left_out(&kind) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("it is missing".into()),
            Err(error) => return Err(error).at("read", &path),
            Ok(found) => difference(&mut entry, &kind, &path, &found, directory)?,
        };
        if let Some(reason) = differs {
            return Ok(Some(Difference { path, reason }));
        }
        // Archives may leave directories out.
        seen.extend(name.ancestors().map(Path::to_path_buf));
    }
    unexpected(directory, Path::new(""), &seen)
}

/// What an entry becomes when it is unpacked.
enum Kind {
    /// As the archive says.
    Plain(EntryType),
    /// A character device 0:0, which hides what is below.
    Whiteout,
    /// An attribute of a directory, which hides what is below.
    Opaque,
}

fn place<R: Read>(name: PathBuf, entry: &Entry<'_, R>) -> (PathBuf, Kind) {
    let hidden = name
        .file_name()
        .and_then(|file| file.as_bytes().strip_prefix(b".wh."));
    match hidden {
        None => (name, Kind::Plain(entry.header().entry_type())),
        Some(b".wh..opq") => {
            let parent = name.parent().unwrap_or(Path::new("")).to_path_buf();
            (parent, Kind::Opaque)
        }
        Some(hidden) => {
            let hidden = std::ffi::OsStr::from_bytes(hidden).to_owned();
            (name.with_file_name(hidden), Kind::Whiteout)
        }
    }
}

/// Does unpacking pass over it?
fn is_left_out(kind: &Kind) -> bool {
    let device = matches!(kind, Kind::Plain(EntryType::Char | EntryType::Block));
    device && Rights::ours() == Rights::User
}

fn difference<R: Read>(
    entry: &mut Entry<'_, R>,
    kind: &Kind,
    path: &Path,
    found: &Metadata,
    directory: &Path,
) -> Result<Option<String>> {
    let kind = match kind {
        Kind::Plain(kind) => *kind,
        Kind::Whiteout => {
            let whiteout = found.file_type().is_char_device() && found.rdev() == 0;
            return Ok((!whiteout).then(|| "it is not a whiteout".into()));
        }
        Kind::Opaque if Rights::ours() == Rights::User => return Ok(None),
        Kind::Opaque => {
            let opaque = rustix::fs::lgetxattr(path, OPAQUE, &mut [0; 8][..]).is_ok();
            return Ok((!opaque).then(|| "it is not opaque".into()));
        }
    };
    let file_type = found.file_type();
    let same_kind = match kind {
        EntryType::Directory => file_type.is_dir(),
        EntryType::Symlink => file_type.is_symlink(),
        EntryType::Char => file_type.is_char_device(),
        EntryType::Block => file_type.is_block_device(),
        EntryType::Fifo => file_type.is_fifo(),
        EntryType::Link => true,
        _ => file_type.is_file(),
    };
    if !same_kind {
        return Ok(Some("it is of another kind".into()));
    }
    if kind == EntryType::Link {
        return linked(entry, found, directory);
    }
    if let Some(reason) = metadata(entry, kind, found)? {
        return Ok(Some(reason));
    }
    if let Some(reason) = attributes(entry, path)? {
        return Ok(Some(reason));
    }
    match kind {
        EntryType::Symlink => {
            let target = fs::read_link(path).at("read", path)?;
            let expected = entry.link_name_bytes().unwrap_or_default();
            let same = target.as_os_str().as_bytes() == expected.as_ref();
            Ok((!same).then(|| "it leads to somewhere else".into()))
        }
        kind if kind.is_file() => {
            let size = entry.size();
            if found.len() != size {
                let actual = found.len();
                return Ok(Some(format!("it has {actual} bytes instead of {size}")));
            }
            let same = same_content(entry, path)?;
            Ok((!same).then(|| "its content differs".into()))
        }
        _ => Ok(None),
    }
}

/// A hard link has to be the file that it is a link to.
fn linked<R: Read>(
    entry: &Entry<'_, R>,
    found: &Metadata,
    directory: &Path,
) -> Result<Option<String>> {
    let name = entry.link_name_bytes().unwrap_or_default().into_owned();
    let target = directory.join(std::ffi::OsString::from_vec(name));
    let same = target
        .symlink_metadata()
        .is_ok_and(|target| (target.dev(), target.ino()) == (found.dev(), found.ino()));
    Ok((!same).then(|| format!("it is not the same file as {}", target.display())))
}

fn metadata<R: Read>(
    entry: &Entry<'_, R>,
    kind: EntryType,
    found: &Metadata,
) -> Result<Option<String>> {
    let header = entry.header();
    let mode = header.mode().at("read the mode of", "an entry")?;
    let mode = Rights::ours().mode(mode, kind);
    // Symbolic links have no mode of their own.
    if kind != EntryType::Symlink && found.mode() & 0o7777 != mode {
        let actual = found.mode() & 0o7777;
        return Ok(Some(format!("its mode is {actual:o} instead of {mode:o}")));
    }
    let owner = (
        header.uid().at("read the owner of", "an entry")?,
        header.gid().at("read the owner of", "an entry")?,
    );
    let actual = (u64::from(found.uid()), u64::from(found.gid()));
    if Rights::ours() == Rights::Root && actual != owner {
        let ((uid, gid), (was, group)) = (owner, actual);
        return Ok(Some(format!(
            "its owner is {was}:{group} instead of {uid}:{gid}"
        )));
    }
    if matches!(kind, EntryType::Char | EntryType::Block) {
        let number = |field: io::Result<Option<u32>>| field.ok().flatten().unwrap_or(0);
        let device =
            rustix::fs::makedev(number(header.device_major()), number(header.device_minor()));
        if found.rdev() != device {
            return Ok(Some("it is another device".into()));
        }
    }
    Ok(None)
}

fn attributes<R: Read>(entry: &mut Entry<'_, R>, path: &Path) -> Result<Option<String>> {
    if Rights::ours() == Rights::User {
        return Ok(None);
    }
    for extension in entry
        .pax_extensions()
        .at("read", path)?
        .into_iter()
        .flatten()
    {
        let extension = extension.at("read", path)?;
        let Some(name) = extension
            .key()
            .ok()
            .and_then(|key| key.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        let mut value = [0; 256];
        let same = rustix::fs::lgetxattr(path, name, &mut value[..])
            .is_ok_and(|size| value[..size] == *extension.value_bytes());
        if !same {
            return Ok(Some(format!("its attribute {name} differs")));
        }
    }
    Ok(None)
}

fn same_content(archived: &mut impl Read, path: &Path) -> Result<bool> {
    let mut file = File::open(path).at("open", path)?;
    let (mut one, mut two) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let size = archived.read(&mut one).at("read the archive of", path)?;
        if size == 0 {
            return Ok(true);
        }
        match file.read_exact(&mut two[..size]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read.at("read", path)?,
        }
        if one[..size] != two[..size] {
            return Ok(false);
        }
    }
}

/// The first path of the directory that the archive does not have.
fn unexpected(root: &Path, below: &Path, seen: &HashSet<PathBuf>) -> Result<Option<Difference>> {
    let directory = root.join(below);
    for entry in fs::read_dir(&directory).at("read", &directory)? {
        let entry = entry.at("read", &directory)?;
        let name = below.join(entry.file_name());
        if !seen.contains(&name) {
            return Ok(Some(Difference {
                path: entry.path(),
                reason: "it does not belong there".into(),
            }));
        }
        if entry.file_type().at("read", entry.path())?.is_dir()
            && let Some(difference) = unexpected(root, &name, seen)?
        {
            return Ok(Some(difference));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::{TarWriter, unpack};
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    /// A layer's archive, and the directory it was unpacked to.
    fn layer() -> (Vec<u8>, tempfile::TempDir) {
        let source = tempfile::tempdir().unwrap();
        fs::create_dir(source.path().join("d")).unwrap();
        fs::write(source.path().join("d/f"), "content").unwrap();
        fs::hard_link(source.path().join("d/f"), source.path().join("h")).unwrap();
        std::os::unix::fs::symlink("d/f", source.path().join("s")).unwrap();
        let mut writer = TarWriter::new(Vec::new());
        writer.tree("pre", source.path()).unwrap();
        let bytes = writer.finish().unwrap();
        let dir = tempfile::tempdir().unwrap();
        unpack("test", &bytes[..], dir.path()).unwrap();
        (bytes, dir)
    }

    #[test]
    fn what_was_unpacked_is_the_same() {
        let (bytes, dir) = layer();
        assert_eq!(compare("test", &bytes[..], dir.path()).unwrap(), None);
    }

    #[test]
    fn every_kind_of_damage_is_named() {
        type Damage = fn(&Path);
        let damages: [(&str, &str, Damage); 7] = [
            ("pre/d/f", "its content differs", |path| {
                fs::write(path, "Content").unwrap();
            }),
            ("pre/d/f", "it has 0 bytes instead of 7", |path| {
                fs::write(path, "").unwrap();
            }),
            ("pre/d/f", "it is missing", |path| {
                fs::remove_file(path).unwrap()
            }),
            ("pre/h", "it is not the same file", |path| {
                fs::remove_file(path).unwrap();
                fs::write(path, "content").unwrap();
            }),
            ("pre/d", "its mode is 700 instead of 755", |path| {
                fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
            }),
            ("pre/s", "it leads to somewhere else", |path| {
                fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("d/x", path).unwrap();
            }),
            ("pre/d/new", "it does not belong there", |path| {
                fs::write(path, "").unwrap();
            }),
        ];
        for (name, reason, damage) in damages {
            let (bytes, dir) = layer();
            let path = dir.path().join(name);
            damage(&path);
            let found = compare("test", &bytes[..], dir.path()).unwrap().unwrap();
            assert_eq!(found.path, path);
            assert!(found.reason.starts_with(reason), "{name}: {}", found.reason);
        }
    }
}
