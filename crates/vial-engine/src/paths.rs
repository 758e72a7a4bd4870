//! Where a cluster's files lie.
//!
//! | | the environment | root | everybody else |
//! |---|---|---|---|
//! | home | `$VIAL_HOME` | `/var/lib/vial` | `$XDG_DATA_HOME/vial`, `~/.local/share/vial` |
//! | run | `$VIAL_RUN` | `/run/vial` | `$XDG_RUNTIME_DIR/vial`, `/tmp/vial-UID` |
//!
//! The first one that is there counts (XDG Base Directory Specification: what is not absolute is not there, and the
//! run-time directory is its user's own). In /tmp anybody may have been first: [`Paths::check`].

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use vial_image::load::ImageStore;

/// Where root's clusters and images lie unless the environment says otherwise.
const DEFAULT_HOME: &str = "/var/lib/vial";
/// Where root's sockets lie unless the environment says otherwise.
const DEFAULT_RUN: &str = "/run/vial";
/// sockaddr_un has room for 108 bytes with the closing NUL (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// The two roots: what is kept (`$VIAL_HOME`) and what dies with the machine (`$VIAL_RUN`).
#[derive(Debug, Clone)]
pub struct Paths {
    /// `$VIAL_HOME`.
    pub home: PathBuf,
    /// `$VIAL_RUN`.
    pub run: PathBuf,
}

/// A root that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// Somebody else could put sockets there.
    #[error("{} is not a directory of yours alone", path.display())]
    Foreign {
        /// Which one.
        path: PathBuf,
    },
    /// A socket below it would have a longer name than the kernel allows.
    #[error(
        "{} is too long for a directory of sockets: {} has {} bytes, the kernel allows {LONGEST_SOCKET}",
        run.display(), socket.display(), socket.as_os_str().len()
    )]
    TooLong {
        /// `$VIAL_RUN`.
        run: PathBuf,
        /// The socket.
        socket: PathBuf,
    },
}

impl Paths {
    /// The roots that the environment names, or the defaults of this user.
    #[must_use]
    pub fn from_env() -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self::of(user, |name| std::env::var_os(name), owner)
    }

    /// The same of any user with any environment; `owner` tells whose a directory is.
    fn of(
        user: u32,
        variable: impl Fn(&str) -> Option<OsString>,
        owner: impl Fn(&Path) -> Option<u32>,
    ) -> Self {
        let path = |name| {
            let value = variable(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        let absolute = |name| path(name).filter(|path: &PathBuf| path.is_absolute());
        let defaults = Self::default_roots();
        let home = || {
            if user == 0 {
                return defaults.home.clone();
            }
            let data = absolute("XDG_DATA_HOME")
                .or_else(|| Some(absolute("HOME")?.join(".local/share")))
                .unwrap_or_else(|| private(user));
            data.join("vial")
        };
        let run = || {
            if user == 0 {
                return defaults.run.clone();
            }
            let theirs = |path: &PathBuf| owner(path) == Some(user);
            let run = absolute("XDG_RUNTIME_DIR").filter(theirs);
            run.map_or_else(|| private(user), |run| run.join("vial"))
        };
        Self {
            home: path("VIAL_HOME").unwrap_or_else(home),
            run: path("VIAL_RUN").unwrap_or_else(run),
        }
    }

    /// Refuses a directory in /tmp that somebody else made: what listens there could be anybody's.
    ///
    /// # Errors
    /// [`PathsError::Foreign`].
    pub fn check(&self) -> Result<(), PathsError> {
        let user = rustix::process::geteuid().as_raw();
        let path = private(user);
        if !self.run.starts_with(&path) && !self.home.starts_with(&path) {
            return Ok(());
        }
        match path.symlink_metadata() {
            Ok(found) if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 => {
                Err(PathsError::Foreign { path })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a run directory in which the sockets of a cluster's containers (`w-1.node`) would have too long names.
    ///
    /// # Errors
    /// [`PathsError::TooLong`].
    pub fn check_sockets<'a>(
        &self,
        name: &str,
        containers: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), PathsError> {
        let sockets = containers
            .into_iter()
            // The longest name that one has there.
            .map(|container| {
                agent_socket_below(&self.run_dir(name), container).with_file_name("console.sock")
            });
        let longest = sockets.max_by_key(|socket| socket.as_os_str().as_bytes().len());
        match longest {
            Some(socket) if socket.as_os_str().as_bytes().len() > LONGEST_SOCKET => {
                let run = self.run.clone();
                Err(PathsError::TooLong { run, socket })
            }
            _ => Ok(()),
        }
    }

    /// Is the home this user's own, or still to be made?
    #[must_use]
    pub fn are_ours(&self) -> bool {
        let user = rustix::process::geteuid().as_raw();
        owner(&self.home).is_none_or(|owner| owner == user)
    }

    /// Makes a cluster's run directory, which is its owner's alone; fine when it is there.
    ///
    /// # Errors
    /// When it cannot be made, or is somebody else's.
    pub fn make_run_dir(&self, name: &str) -> io::Result<()> {
        private_dir(&self.run_dir(name))?;
        self.check().map_err(io::Error::other)
    }

    /// Root's, whose environment names none.
    #[must_use]
    pub fn default_roots() -> Self {
        Self {
            home: DEFAULT_HOME.into(),
            run: DEFAULT_RUN.into(),
        }
    }

    /// All clusters' directories.
    #[must_use]
    pub fn clusters_dir(&self) -> PathBuf {
        self.home.join("clusters")
    }

    /// One cluster's directory: record, keys, disks of its nodes.
    #[must_use]
    pub fn cluster_dir(&self, name: &str) -> PathBuf {
        self.clusters_dir().join(name)
    }

    /// All templates' directories.
    #[must_use]
    pub fn templates_dir(&self) -> PathBuf {
        self.home.join("templates")
    }

    /// What is in one cluster's registry.
    #[must_use]
    pub fn registry_dir(&self, name: &str) -> PathBuf {
        self.cluster_dir(name).join("registry/data")
    }

    /// The container images that were loaded into a cluster.
    #[must_use]
    pub fn image_store(&self, name: &str) -> ImageStore {
        ImageStore::at(self.cluster_dir(name).join("images"))
    }

    /// The node images.
    #[must_use]
    pub fn images_dir(&self) -> PathBuf {
        self.home.join("images")
    }

    /// What was pulled from public registries, for all clusters.
    #[must_use]
    pub fn registry_cache(&self) -> PathBuf {
        self.home.join("cache/registry")
    }

    /// Whether this host runs virtual machines by KVM, as was last seen.
    #[must_use]
    pub fn accelerator(&self) -> PathBuf {
        self.home.join("cache/accelerator.json")
    }

    /// One cluster's sockets and pids.
    #[must_use]
    pub fn run_dir(&self, name: &str) -> PathBuf {
        self.run.join(name)
    }

    /// Held by whoever owns the cluster's state: its keeper, or somebody who sweeps. It lies beside the cluster's
    /// directory, not in the run directory, so that two run directories over one home do not mean two owners.
    #[must_use]
    pub fn lock_file(&self, name: &str) -> PathBuf {
        self.clusters_dir().join(format!("{name}.lock"))
    }

    /// What the cluster's sandbox is called on this machine. Homes other than the default one add a mark of their own,
    /// since cgroups are named by it and two homes may have clusters of one name.
    #[must_use]
    pub fn sandbox_name(&self, name: &str) -> String {
        if self.home == Path::new(DEFAULT_HOME) {
            return name.to_owned();
        }
        let digest = Sha256::digest(self.home.as_os_str().as_encoded_bytes());
        let mark: String = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{name}-{mark}")
    }

    /// Where the keeper answers.
    #[must_use]
    pub fn keeper_socket(&self, name: &str) -> PathBuf {
        self.run_dir(name).join("keeper.sock")
    }
}

/// Makes a directory, and those above it, that only its owner may enter; fine when it is there.
///
/// # Errors
/// When it cannot be made.
pub fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// A directory of somebody for whom the machine has made none.
fn private(user: u32) -> PathBuf {
    format!("/tmp/vial-{user}").into()
}

fn owner(path: &Path) -> Option<u32> {
    let metadata = path.metadata().ok()?;
    metadata.is_dir().then(|| metadata.uid())
}

/// The socket of a container's agent below a run directory, on the host or as seen in the sandbox.
pub(crate) fn agent_socket_below(run: &Path, container: &str) -> PathBuf {
    run.join("agents").join(container).join("agent.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Home and run directory of a user whose environment is that; `/run/user/UID` is theirs.
    fn roots(user: u32, environment: &[(&str, &str)]) -> (String, String) {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let owner = |path: &Path| path.strip_prefix("/run/user").ok()?.to_str()?.parse().ok();
        let paths = Paths::of(user, variable, owner);
        let text = |path: &Path| path.display().to_string();
        (text(&paths.home), text(&paths.run))
    }

    fn expect(user: u32, environment: &[(&str, &str)], home: &str, run: &str) {
        let expected = (home.to_owned(), run.to_owned());
        assert_eq!(roots(user, environment), expected, "{environment:?}");
    }

    #[test]
    fn everybody_has_a_place_of_their_own() {
        let bob = ("HOME", "/home/bob");
        let session = ("XDG_RUNTIME_DIR", "/run/user/7");
        expect(0, &[bob, session], "/var/lib/vial", "/run/vial");
        let share = "/home/bob/.local/share/vial";
        expect(7, &[bob, session], share, "/run/user/7/vial");
        expect(7, &[bob], share, "/tmp/vial-7");
        let data = ("XDG_DATA_HOME", "/data");
        expect(7, &[bob, session, data], "/data/vial", "/run/user/7/vial");
        let named = [("VIAL_HOME", "/a"), ("VIAL_RUN", "/b")];
        expect(7, &named, "/a", "/b");
        expect(0, &named, "/a", "/b");
    }

    #[test]
    fn what_is_empty_relative_or_another_users_does_not_count() {
        let empty = [("VIAL_HOME", ""), ("VIAL_RUN", ""), ("HOME", "")];
        expect(7, &empty, "/tmp/vial-7/vial", "/tmp/vial-7");
        let relative = [("XDG_DATA_HOME", "data"), ("HOME", "/home/bob")];
        let share = "/home/bob/.local/share/vial";
        expect(7, &relative, share, "/tmp/vial-7");
        // As after su without a session of its own.
        let roots = [("HOME", "/home/bob"), ("XDG_RUNTIME_DIR", "/run/user/0")];
        expect(7, &roots, share, "/tmp/vial-7");
    }

    #[test]
    fn a_run_directory_that_is_too_long_is_told_with_the_socket() {
        let paths = |run: String| Paths {
            home: "/home".into(),
            run: run.into(),
        };
        let containers = ["w-1.node", "cp-1.control-plane"];
        let rest = "/dev/agents/cp-1.control-plane/console.sock".len();
        let fits = paths(format!("/{}", "r".repeat(LONGEST_SOCKET - rest - 1)));
        fits.check_sockets("dev", containers).unwrap();
        let long = paths(format!("/{}", "r".repeat(LONGEST_SOCKET - rest)));
        let error = long.check_sockets("dev", containers).unwrap_err();
        assert!(error.to_string().contains("108 bytes"), "{error}");
    }
}
