//! The directories below a destination, by descriptor: nothing on the way is ever a symbolic link.
//!
//! Every step opens one name in an open directory and follows no link (`openat(2)`, O_NOFOLLOW), so that neither the
//! archive nor somebody who works in the destination meanwhile can lead out of it. What is made there is made aside
//! first.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::ArchiveError;

/// How a directory is opened only to be walked through.
const WALK: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A destination directory and the way to the one that was used last.
pub(crate) struct Place {
    path: PathBuf,
    root: OwnedFd,
    /// Open directories below it, the deepest last; archives list neighbours one after the other.
    way: Vec<(OsString, OwnedFd)>,
}

impl Place {
    /// Opens a destination, which may be named by links: it is what the person asked for.
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let root = openat(
            CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(ArchiveError::io("open the directory", path))?;
        Ok(Self {
            path: path.into(),
            root,
            way: Vec::new(),
        })
    }

    /// The whole path of a name, for people.
    pub(crate) fn at(&self, name: &Path) -> PathBuf {
        self.path.join(name)
    }

    /// The directory that `name` (see [`clean`]) goes into, and the last part of the name. Directories that the archive
    /// does not list are made.
    pub(crate) fn parent<'a>(
        &mut self,
        name: &'a Path,
    ) -> Result<(BorrowedFd<'_>, &'a OsStr), ArchiveError> {
        let last = name.file_name().ok_or_else(|| ArchiveError::LeadsOut {
            name: name.to_path_buf(),
        })?;
        let parent = name.parent().unwrap_or(Path::new(""));
        Ok((self.directory(parent)?, last))
    }

    /// A directory below the destination.
    pub(crate) fn directory(&mut self, name: &Path) -> Result<BorrowedFd<'_>, ArchiveError> {
        let wanted: Vec<&OsStr> = name.iter().collect();
        let same = self
            .way
            .iter()
            .zip(&wanted)
            .take_while(|((have, _), want)| have == *want)
            .count();
        self.way.truncate(same);
        for (depth, part) in wanted.iter().enumerate().skip(same) {
            let above = self.way.last().map_or(&self.root, |(_, fd)| fd);
            let here = || wanted[..=depth].iter().collect::<PathBuf>();
            let open = || openat(above, *part, WALK, Mode::empty());
            let opened = match open() {
                Err(Errno::NOENT) => match mkdirat(above, *part, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => open(),
                    Err(error) => {
                        return Err(ArchiveError::io("make the directory", &self.at(&here()))(
                            error,
                        ));
                    }
                },
                other => other,
            };
            match opened {
                Ok(fd) => self.way.push(((*part).to_owned(), fd)),
                // A link, or a file: either way not what the archive takes it for.
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(ArchiveError::LeadsOut { name: name.into() });
                }
                Err(error) => {
                    return Err(ArchiveError::io("open the directory", &self.at(&here()))(
                        error,
                    ));
                }
            }
        }
        Ok(self.way.last().map_or(&self.root, |(_, fd)| fd).as_fd())
    }
}

/// A name without what does not matter (`./a//b/` is `a/b`, `/a` is `a`); `None` when a part of it leads upward.
pub(crate) fn clean(name: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// Something that is being made beside its final name; gone when it is dropped before [`Aside::rename`].
pub(crate) struct Aside<'a> {
    parent: BorrowedFd<'a>,
    /// What it is called meanwhile.
    pub(crate) name: OsString,
}

impl<'a> Aside<'a> {
    pub(crate) fn new(parent: BorrowedFd<'a>) -> Self {
        // By chance, so that what a killed process left is in nobody's way: an agent has the same pid in its next life.
        let random = RandomState::new().build_hasher().finish();
        let name = format!(".vial-cp-{random:016x}").into();
        Self { parent, name }
    }

    /// Gives it its name; a file that has it is replaced.
    pub(crate) fn rename(self, last: &OsStr, path: &Path) -> Result<(), ArchiveError> {
        // Two names of one file stay two: then there is nothing to do (rename(2)), and the drop removes ours.
        match renameat(self.parent, &self.name, self.parent, last) {
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Err(ArchiveError::OtherKind {
                path: path.into(),
                is_directory: true,
            }),
            result => result.map_err(ArchiveError::io("write", path)),
        }
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        let _ = unlinkat(self.parent, &self.name, AtFlags::empty());
    }
}
