//! Unpacking a .deb: an ar archive (deb(5)) of `debian-binary`, `control.tar.*` and `data.tar.*`.
//!
//! Used for the first packages of a new root, before dpkg can run there; dpkg then installs them again properly.
//!
//! Every path is resolved as if the new root were `/` (openat2(2) with `RESOLVE_IN_ROOT`): a package that ships
//! `var/run/x` where `/var/run` is a link to `/run` writes into the new root, never into the host's /run.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};
use tar::{Archive, EntryType};

use super::error::DebianError;

/// Length of an ar member's header.
const HEADER: usize = 60;

/// Opens the tar archive `NAME.tar*` of a package.
fn open_member(deb: &Path, name: &str) -> Result<Archive<Box<dyn Read>>, DebianError> {
    let bad = |reason: &str| DebianError::malformed(deb.display().to_string(), reason);
    let mut file = File::open(deb).map_err(DebianError::io("open", deb))?;
    let io = |operation| DebianError::io(operation, deb);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(io("read"))?;
    if &magic != b"!<arch>\n" {
        return Err(bad("it is not a Debian package"));
    }
    let mut header = [0; HEADER];
    while file.read_exact(&mut header).is_ok() {
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8_lossy(&header[range]).trim().to_owned()
        };
        let (member, size) = (
            text(0..16),
            text(48..58)
                .parse::<u64>()
                .map_err(|_| bad("a member has a size that is no number"))?,
        );
        let member = member.trim_end_matches('/');
        if let Some(suffix) = member
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(".tar"))
        {
            let body = io::BufReader::with_capacity(1 << 18, file.take(size));
            let tar: Box<dyn Read> = match suffix {
                "" => Box::new(body),
                ".gz" => Box::new(flate2::read::GzDecoder::new(body)),
                ".xz" => Box::new(xz2::bufread::XzDecoder::new(body)),
                ".zst" => Box::new(zstd::Decoder::with_buffer(body).map_err(io("decompress"))?),
                _ => {
                    return Err(bad(&format!(
                        "its {member} is compressed in an unknown way"
                    )));
                }
            };
            return Ok(Archive::new(tar));
        }
        let padded = size + size % 2;
        file.seek(SeekFrom::Current(
            i64::try_from(padded).map_err(|_| bad("a member is too long"))?,
        ))
        .map_err(io("read"))?;
    }
    Err(bad(&format!("it has no {name}.tar")))
}

/// Unpacks the files of a package below `root`, with owners, modes and times; `keep` says which paths (without a
/// leading slash) are wanted.
pub(crate) fn unpack(
    deb: &Path,
    root: &Path,
    keep: &dyn Fn(&Path) -> bool,
) -> Result<(), DebianError> {
    let bad = |reason: String| DebianError::malformed(deb.display().to_string(), reason);
    let tree = Tree::open(root)?;
    let mut archive = open_member(deb, "data")?;
    for entry in archive.entries().map_err(DebianError::io("unpack", deb))? {
        let mut entry = entry.map_err(DebianError::io("unpack", deb))?;
        let path = plain(&entry.path().map_err(DebianError::io("unpack", deb))?)
            .ok_or_else(|| bad("a path leads outside".to_owned()))?;
        if path.as_os_str().is_empty() || !keep(&path) {
            continue;
        }
        let failed = |source: io::Error| DebianError::Io {
            operation: "unpack",
            path: root.join(&path),
            source,
        };
        let header = entry.header().clone();
        let attributes = Attributes::of(&header).map_err(failed)?;
        let link = entry
            .link_name()
            .map_err(failed)?
            .map(|link| link.into_owned());
        match (header.entry_type(), link) {
            (EntryType::Directory, _) => tree.directory(&path, &attributes),
            (EntryType::Regular | EntryType::Continuous, _) => {
                tree.file(&path, &attributes, &mut entry)
            }
            (EntryType::Symlink, Some(target)) => tree.symlink(&path, &target, &attributes),
            (EntryType::Link, Some(target)) => tree.hard_link(
                &path,
                &plain(&target).ok_or_else(|| bad("a link leads outside".to_owned()))?,
            ),
            (other, _) => {
                return Err(bad(format!(
                    "{} is of kind {other:?}, which packages do not hold",
                    path.display()
                )));
            }
        }
        .map_err(failed)?;
    }
    Ok(())
}

/// `./usr/bin/x` as `usr/bin/x`; nothing when it leads upwards.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

struct Attributes {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    times: Timestamps,
}

impl Attributes {
    fn of(header: &tar::Header) -> io::Result<Self> {
        let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner out of range"));
        let time = Timespec {
            tv_sec: i64::try_from(header.mtime()?).unwrap_or(0),
            tv_nsec: 0,
        };
        Ok(Self {
            mode: Mode::from_raw_mode(header.mode()? & 0o7777),
            uid: Uid::from_raw(id(header.uid()?)?),
            gid: Gid::from_raw(id(header.gid()?)?),
            times: Timestamps {
                last_access: time,
                last_modification: time,
            },
        })
    }
}

/// The new root, and making files in it.
struct Tree {
    root: OwnedFd,
}

impl Tree {
    fn open(root: &Path) -> Result<Self, DebianError> {
        let fd = rustix::fs::open(
            root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        Ok(Self {
            root: fd.map_err(|errno| DebianError::io("open", root)(errno.into()))?,
        })
    }

    /// The directory a path is in, and the last part of the path.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p [u8])> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::other("a path without a name"))?;
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((
            rustix::fs::openat2(
                &self.root,
                parent,
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            )?,
            name.as_bytes(),
        ))
    }

    fn directory(&self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, name, attributes.mode) {
            Ok(()) => {}
            // Kept: a directory of another package, or a link to one (/lib is a link to usr/lib).
            Err(rustix::io::Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        rustix::fs::chownat(
            &parent,
            name,
            Some(attributes.uid),
            Some(attributes.gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        rustix::fs::chmodat(&parent, name, attributes.mode, AtFlags::empty())?;
        Ok(())
    }

    fn file(&self, path: &Path, attributes: &Attributes, content: &mut dyn Read) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        remove(&parent, name)?;
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(
            &parent,
            name,
            flags,
            Mode::from_raw_mode(0o600),
        )?);
        io::copy(content, &mut file)?;
        // Owner before mode: changing the owner clears the set-user-id bit.
        rustix::fs::fchown(&file, Some(attributes.uid), Some(attributes.gid))?;
        rustix::fs::fchmod(&file, attributes.mode)?;
        rustix::fs::futimens(&file, &attributes.times)?;
        Ok(())
    }

    fn symlink(&self, path: &Path, target: &Path, attributes: &Attributes) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        remove(&parent, name)?;
        rustix::fs::symlinkat(target, &parent, name)?;
        rustix::fs::chownat(
            &parent,
            name,
            Some(attributes.uid),
            Some(attributes.gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        rustix::fs::utimensat(&parent, name, &attributes.times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn hard_link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        let (from, original) = self.parent(target)?;
        remove(&parent, name)?;
        Ok(rustix::fs::linkat(
            &from,
            original,
            &parent,
            name,
            AtFlags::empty(),
        )?)
    }
}

fn remove(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// A package with these files: (path, kind, content or target).
    pub(crate) fn make(files: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(xz2::write::XzEncoder::new(Vec::new(), 1));
        for (path, kind, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(if *kind == EntryType::Directory {
                0o755
            } else {
                0o4750
            });
            header.set_mtime(1_000_000);
            header.set_uid(rustix::process::geteuid().as_raw().into());
            header.set_gid(rustix::process::getegid().as_raw().into());
            // Written by hand: the builder refuses paths that lead outside, and this is about refusing them.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name(content).unwrap();
                header.set_size(0);
                header.set_cksum();
                tar.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                tar.append(&header, content.as_bytes()).unwrap();
            }
        }
        let data = tar.into_inner().unwrap().finish().unwrap();
        let mut deb = b"!<arch>\n".to_vec();
        for (name, body) in [
            ("debian-binary", b"2.0\n!".as_slice()),
            ("data.tar.xz", &data),
        ] {
            let size = if name == "debian-binary" {
                5
            } else {
                body.len()
            };
            deb.extend(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
                    0, 0, 0, 100_644
                )
                .as_bytes(),
            );
            deb.extend(body);
            if size % 2 == 1 {
                deb.push(b'\n');
            }
        }
        deb
    }

    fn unpack_into(root: &Path, files: &[(&str, EntryType, &str)]) -> Result<(), DebianError> {
        let dir = tempfile::tempdir().unwrap();
        let deb = dir.path().join("x.deb");
        std::fs::write(&deb, make(files)).unwrap();
        unpack(&deb, root, &|path| !path.starts_with("usr/share/doc"))
    }

    #[test]
    fn unpacks_with_modes_times_and_links() {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("./", EntryType::Directory, ""),
            ("./usr/", EntryType::Directory, ""),
            ("./usr/bin/", EntryType::Directory, ""),
            ("./usr/bin/su", EntryType::Regular, "su"),
            ("./usr/bin/sg", EntryType::Link, "./usr/bin/su"),
            ("./bin", EntryType::Symlink, "usr/bin"),
            ("./usr/share/doc", EntryType::Directory, ""),
        ];
        unpack_into(root.path(), &files).unwrap();
        let meta = std::fs::metadata(root.path().join("bin/sg")).unwrap();
        assert_eq!(
            (meta.mode() & 0o7777, meta.mtime(), meta.nlink()),
            (0o4750, 1_000_000, 2)
        );
        assert!(!root.path().join("usr/share").exists());
        // Again, over what is there; and through the link, which stays one.
        unpack_into(root.path(), &files).unwrap();
        unpack_into(
            root.path(),
            &[
                ("./bin/", EntryType::Directory, ""),
                ("./bin/x", EntryType::Regular, "x"),
            ],
        )
        .unwrap();
        assert_eq!(std::fs::read(root.path().join("usr/bin/x")).unwrap(), b"x");
        assert!(root.path().join("bin").is_symlink());
    }

    #[test]
    fn absolute_links_stay_inside() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside_path = outside.path().to_str().unwrap();
        unpack_into(root.path(), &[("run", EntryType::Symlink, outside_path)]).unwrap();
        assert!(unpack_into(root.path(), &[("run/x", EntryType::Regular, "x")]).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        let error = unpack_into(root.path(), &[("../x", EntryType::Regular, "x")])
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("x.deb: a path leads outside"), "{error}");
    }

    #[test]
    fn refuses_what_is_no_package() {
        let root = tempfile::tempdir().unwrap();
        for bytes in [&b"hello, world"[..], b"!<arch>\n", b"!<arch>\nxyz"] {
            let deb = root.path().join("bad.deb");
            std::fs::write(&deb, bytes).unwrap();
            let error = unpack(&deb, root.path(), &|_| true)
                .unwrap_err()
                .to_string();
            assert!(error.contains("bad.deb: it "), "{error}");
        }
    }
}
