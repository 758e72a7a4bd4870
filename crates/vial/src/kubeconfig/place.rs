//! Which kubeconfig is the invoking person's.
//!
//! As kubectl decides (`PathOptions.GetDefaultFilename` of client-go): of the files in `KUBECONFIG` the first one that
//! exists, else the last one; without `KUBECONFIG` it is `~/.kube/config`. Under sudo `~` is that of the person who
//! called sudo, and what vial makes there belongs to that person.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// What of the process's environment matters here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `KUBECONFIG`.
    pub(crate) kubeconfig: Option<String>,
    /// `HOME`.
    pub(crate) home: Option<PathBuf>,
    /// `SUDO_UID` and `SUDO_GID`, when sudo made us root.
    pub(crate) sudo: Option<(u32, u32)>,
    /// Where `/etc/passwd` is.
    pub(crate) passwd: PathBuf,
}

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        let number = |name| {
            std::env::var(name)
                .ok()
                .and_then(|text| text.parse::<u32>().ok())
        };
        // Whoever is not root and has these variables was not made root by sudo.
        let sudo = number("SUDO_UID")
            .zip(number("SUDO_GID"))
            .filter(|(uid, _)| *uid != 0);
        Self {
            kubeconfig: std::env::var("KUBECONFIG").ok(),
            home: std::env::var_os("HOME")
                .filter(|home| !home.is_empty())
                .map(PathBuf::from),
            sudo: sudo.filter(|_| rustix::process::geteuid().is_root()),
            passwd: "/etc/passwd".into(),
        }
    }

    /// User and group of the person at the keyboard.
    pub(crate) fn person(&self) -> (u32, u32) {
        self.sudo.unwrap_or_else(|| {
            let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
            (uid.as_raw(), gid.as_raw())
        })
    }

    /// The files that kubectl of the person puts together: those in `KUBECONFIG`, else `~/.kube/config`.
    pub(crate) fn kubeconfigs(&self) -> Vec<PathBuf> {
        let listed: Vec<PathBuf> = self
            .kubeconfig
            .iter()
            .flat_map(|list| list.split(':'))
            .filter(|path| !path.is_empty())
            .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()))
            .collect();
        match listed.is_empty() {
            false => listed,
            true => vec![
                self.home()
                    .unwrap_or_else(|| PathBuf::from("/root"))
                    .join(".kube/config"),
            ],
        }
    }

    /// The home directory of the person at the keyboard.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        let of_sudo = self.sudo.and_then(|(uid, _)| {
            let passwd = fs::read_to_string(&self.passwd).ok()?;
            home_of(&passwd, uid)
        });
        of_sudo.or_else(|| self.home.clone())
    }
}

impl Environment {
    /// The home that passwd(5) says a user has, which is `~` to OpenSSH whatever HOME says.
    pub(crate) fn login_home(&self, uid: u32) -> Option<PathBuf> {
        home_of(&fs::read_to_string(&self.passwd).ok()?, uid)
    }
}

/// One kubeconfig, and to whom it belongs when vial makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file; may be missing, may be a symbolic link.
    pub(crate) path: PathBuf,
    /// User and group of a new file; `None`: whoever runs vial.
    pub(crate) owner: Option<(u32, u32)>,
}

impl Place {
    /// Where kubectl of the person would write.
    pub(crate) fn find(environment: &Environment) -> Self {
        let listed = environment.kubeconfigs();
        let path = listed
            .iter()
            .find(|path| path.exists())
            .or(listed.last())
            .cloned()
            .unwrap_or_default();
        Self {
            path,
            owner: environment.sudo,
        }
    }

    /// Makes the directory of the file, and gives what it made to the owner.
    pub(super) fn make_directory(&self) -> Result<()> {
        let Some(directory) = self.path.parent() else {
            return Ok(());
        };
        let missing: Vec<&Path> = directory
            .ancestors()
            .take_while(|path| !path.exists())
            .collect();
        for path in missing.into_iter().rev() {
            fs::DirBuilder::new()
                .mode(0o755)
                .create(path)
                .map_err(Error::file("make the directory", path))?;
            if let Some((uid, gid)) = self.owner {
                std::os::unix::fs::chown(path, Some(uid), Some(gid))
                    .map_err(Error::file("change the owner of", path))?;
            }
        }
        Ok(())
    }
}

/// passwd(5): `name:password:uid:gid:gecos:home:shell`.
fn home_of(passwd: &str, uid: u32) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let found = fields.next()?.parse::<u32>().ok()? == uid;
        let home = fields.nth(2)?;
        (found && home.starts_with('/')).then(|| PathBuf::from(home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(kubeconfig: Option<String>) -> Environment {
        Environment {
            kubeconfig,
            home: Some("/home/me".into()),
            ..Environment::default()
        }
    }

    #[test]
    fn without_kubeconfig_it_is_in_the_home() {
        for kubeconfig in [None, Some(String::new()), Some("::".into())] {
            assert_eq!(
                Place::find(&environment(kubeconfig)).path,
                Path::new("/home/me/.kube/config")
            );
        }
    }

    #[test]
    fn of_a_list_the_first_that_exists_else_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let list = format!(":{}:{}:{}", path("a"), path("b"), path("c"));
        assert_eq!(
            Place::find(&environment(Some(list.clone()))).path,
            dir.path().join("c")
        );
        fs::write(dir.path().join("b"), "").unwrap();
        assert_eq!(
            Place::find(&environment(Some(list.clone()))).path,
            dir.path().join("b")
        );
        fs::write(dir.path().join("a"), "").unwrap();
        assert_eq!(
            Place::find(&environment(Some(list))).path,
            dir.path().join("a")
        );
        assert_eq!(
            Place::find(&environment(Some(path("new")))).path,
            dir.path().join("new")
        );
    }

    #[test]
    fn under_sudo_it_is_that_of_the_person() {
        let dir = tempfile::tempdir().unwrap();
        let passwd = dir.path().join("passwd");
        fs::write(
            &passwd,
            "root:x:0:0:root:/root:/bin/sh\nbroken\nana:x:1000:1001:Ana,,,:/home/ana:/bin/bash\n",
        )
        .unwrap();
        let environment = Environment {
            home: Some("/root".into()),
            sudo: Some((1000, 1001)),
            passwd,
            ..Environment::default()
        };
        let place = Place::find(&environment);
        assert_eq!(
            place,
            Place {
                path: "/home/ana/.kube/config".into(),
                owner: Some((1000, 1001))
            }
        );
        let unknown = Environment {
            sudo: Some((4711, 4711)),
            ..environment
        };
        assert_eq!(Place::find(&unknown).path, Path::new("/root/.kube/config"));
    }

    #[test]
    fn a_relative_path_is_remembered_as_an_absolute_one() {
        let place = Place::find(&environment(Some("some-file-that-is-not-there".into())));
        assert!(place.path.is_absolute(), "{place:?}");
    }
}
