//! Where a copy goes: the rules of `docker cp`, which are those of `cp -a` but for a directory that is not there yet.
//!
//! | source | destination | result |
//! |---|---|---|
//! | file | is not there | becomes the file |
//! | file | is not there, ends with `/` | error |
//! | file | a file | replaces it |
//! | file | a directory | goes into it, under its own name |
//! | directory | is not there | becomes the directory |
//! | directory | a file | error |
//! | directory | a directory | goes into it, under its own name |
//! | directory, written `DIR/.` | a directory | its contents go into it |
//!
//! The directory above the destination has to be there. Several sources need a directory.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use vial_archive::{Kind, Root, Seen};

/// Something to copy.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// As it was typed.
    pub(crate) path: PathBuf,
    /// What is there.
    pub(crate) seen: Seen,
}

/// Where to.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// As it was typed.
    pub(crate) path: PathBuf,
    /// What is there, with links followed.
    pub(crate) seen: Seen,
}

/// What becomes of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The directory that is written into.
    pub(crate) directory: PathBuf,
    /// Under which name.
    pub(crate) root: Root,
}

impl Target {
    /// What the copy will be called; of contents the directory they go into.
    pub(crate) fn path(&self) -> PathBuf {
        match &self.root {
            Root::Named(name) => self.directory.join(name),
            Root::Contents => self.directory.clone(),
        }
    }
}

impl Source {
    /// `DIR/.` or `.`: only what is in it.
    fn is_contents(&self) -> bool {
        let path = self.path.as_os_str().as_bytes();
        path == b"." || path.ends_with(b"/.")
    }

    /// Where it goes.
    ///
    /// # Errors
    /// Why it cannot go there, to be put after `cannot copy A to B: `.
    pub(crate) fn target(&self, to: &Destination) -> Result<Target, String> {
        let is_directory = self.seen.kind == Kind::Directory;
        match to.seen.kind {
            Kind::Directory => Ok(self.inside(to)),
            Kind::Missing => {
                if !to.seen.parent {
                    return Err(format!(
                        "the directory {} is not there",
                        above(&to.path).display()
                    ));
                }
                if !is_directory && to.path.as_os_str().as_bytes().ends_with(b"/") {
                    return Err(format!("the directory {} is not there", to.path.display()));
                }
                let name = to.path.file_name().ok_or("it has no name")?;
                Ok(Target {
                    directory: above(&to.path).into(),
                    root: Root::Named(name.into()),
                })
            }
            Kind::File if is_directory => Err("a file cannot be replaced by a directory".into()),
            Kind::File => Ok(Target {
                directory: above(&to.seen.real).into(),
                root: Root::Named(to.seen.real.file_name().unwrap_or_default().into()),
            }),
            Kind::Link => Err(format!("{} is a link to nothing", to.path.display())),
            Kind::Special => {
                let path = to.path.display();
                Err(format!("{path} is neither a file nor a directory"))
            }
        }
    }

    fn inside(&self, to: &Destination) -> Target {
        // `..` is called as the directory it leads to; the root directory has no name, so only its contents can be had.
        let own: Option<OsString> = self
            .path
            .file_name()
            .or(self.seen.real.file_name())
            .map(Into::into);
        let root = match own {
            Some(name) if !(self.is_contents() && self.seen.kind == Kind::Directory) => {
                Root::Named(name)
            }
            _ => Root::Contents,
        };
        Target {
            directory: to.seen.real.clone(),
            root,
        }
    }
}

/// The directory that `path` is in.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: Kind, real: &str) -> Seen {
        Seen {
            kind,
            real: real.into(),
            parent: true,
        }
    }

    /// What becomes of `from` when it is copied to `to`, as `DIRECTORY NAME`.
    fn target(from: (&str, Kind), to: (&str, Kind)) -> Result<String, String> {
        let source = Source {
            path: from.0.into(),
            seen: seen(from.1, "/real/source"),
        };
        let destination = Destination {
            path: to.0.into(),
            seen: seen(to.1, &to.0.replace("link", "real")),
        };
        source.target(&destination).map(|target| {
            let name = match target.root {
                Root::Named(name) => name.to_string_lossy().into_owned(),
                Root::Contents => "*".into(),
            };
            format!("{} {name}", target.directory.display())
        })
    }

    #[test]
    fn the_rules_are_dockers() {
        use Kind::{Directory as D, File as F, Link as L, Missing as N};
        for (from, to, expected) in [
            (("a/f", F), ("/x/new", N), "/x new"),
            (("a/f", F), ("/x/old", F), "/x old"),
            (("a/f", F), ("/x", D), "/x f"),
            (("a/f", F), ("/x/", D), "/x/ f"),
            (("a/l", L), ("/x", D), "/x l"),
            (("a/f", F), ("/link/old", F), "/real old"),
            (("a/d", D), ("/x/new", N), "/x new"),
            (("a/d", D), ("/x/new/", N), "/x new"),
            (("a/d", D), ("/x", D), "/x d"),
            (("a/d/", D), ("/x", D), "/x d"),
            (("a/d/.", D), ("/x", D), "/x *"),
            ((".", D), ("/x", D), "/x *"),
            (("a/d/.", D), ("/x/new", N), "/x new"),
            (("..", D), ("/x", D), "/x source"),
            (("a/f", F), ("new", N), ". new"),
        ] {
            assert_eq!(target(from, to).as_deref(), Ok(expected), "{from:?} {to:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        use Kind::{Directory as D, File as F, Link as L, Missing as N, Special as S};
        for (from, to) in [
            (("f", F), ("/x/new/", N)),
            (("d", D), ("/x/file", F)),
            (("f", F), ("/dev/null", S)),
            (("f", F), ("/x/dangling", L)),
        ] {
            target(from, to).unwrap_err();
        }
        let source = Source {
            path: "f".into(),
            seen: seen(F, "/f"),
        };
        let nowhere = Destination {
            path: "/no/where".into(),
            seen: Seen {
                parent: false,
                ..seen(N, "/no/where")
            },
        };
        let error = source.target(&nowhere).unwrap_err();
        assert_eq!(error, "the directory /no is not there");
    }
}
