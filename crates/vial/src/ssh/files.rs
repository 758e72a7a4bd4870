//! What a person's ssh reads about a cluster, apart from the cluster's own files, which only root may read.
//!
//! ```text
//! $VIAL_HOME/ssh/UID/.home        where that person's home is
//! $VIAL_HOME/ssh/UID/NAME/
//!   pods, pods_known_hosts        the pods (the keeper's, as long as the cluster lives)
//!   config         the nodes and how they are reached      `Include $VIAL_HOME/ssh/UID/*/config` finds all clusters
//!   id_ed25519     opens them
//!   known_hosts    their host keys
//!   whole_config   `config`, then the person's own: for `vial ssh`
//!
//!  up, ssh, ssh-config ─► written, when they are not what they should be ─► down ─► removed
//! ```
//! The files belong to the person, mode 0600; the directories to root, so that nobody can lead root elsewhere. What an
//! interrupted `down` leaves opens nothing any more, and goes with the next `down` of that name.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use vial_cloud::ssh::quote::word;
use vial_cloud::ssh::{Home, Who};
use vial_engine::paths::Paths;
use vial_spec::ClusterSpec;

use super::config::{Cluster, Proxy};
use crate::error::{Code, Error, Result};
use crate::kubeconfig::Environment;
use crate::replace::replace;

/// Names a person's home; no cluster is called so.
const HOME: &str = ".home";

/// For whom: user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person {
    uid: u32,
    gid: u32,
}

/// The files of one person for one cluster.
#[derive(Debug)]
pub(crate) struct Files {
    /// The nodes and how they are reached.
    pub(crate) config: String,
    /// The same and the person's own configuration.
    pub(crate) whole_config: PathBuf,
}

impl Person {
    /// Who is at the keyboard: whoever called sudo, else who runs vial.
    pub(crate) fn at_keyboard() -> Self {
        let (uid, gid) = Environment::of_process().person();
        Self { uid, gid }
    }

    /// Who runs vial.
    pub(crate) fn of_process() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }

    /// The home of the person at the keyboard.
    ///
    /// # Errors
    /// When nobody says where it is.
    pub(crate) fn home_at_keyboard() -> Result<Home> {
        let environment = Environment::of_process();
        let Self { uid, gid } = Self::at_keyboard();
        let dir = environment.home().ok_or_else(|| {
            Error::new(Code::NotFound, "there is no home directory").hint("set HOME")
        })?;
        let dir = absolute(&dir);
        Ok(Home {
            who: Who { uid, gid },
            is_login: environment.login_home(uid).as_ref() == Some(&dir),
            dir,
        })
    }

    /// The line of `~/.ssh/config` that lets ssh find all clusters that this person can reach, now and later.
    pub(crate) fn include(self, paths: &Paths) -> String {
        let pattern = self.directory(paths).join("*/config");
        format!("Include {}", word(&pattern))
    }

    /// The first directory on the way to the files that this person cannot pass, by its mode.
    pub(crate) fn obstacle(self, paths: &Paths) -> Option<PathBuf> {
        let directory = self.directory(paths);
        let closed = |above: &&Path| {
            let Ok(directory) = fs::metadata(above) else {
                return false;
            };
            let passes = match (directory.uid(), directory.gid()) {
                (uid, _) if uid == self.uid => 0o100,
                (_, gid) if gid == self.gid => 0o010,
                _ => 0o001,
            };
            self.uid != 0 && directory.mode() & passes == 0
        };
        // Of several the outermost one is the last that was seen.
        directory
            .ancestors()
            .filter(closed)
            .last()
            .map(Path::to_path_buf)
    }

    /// Where the files of all clusters are.
    pub(crate) fn directory(self, paths: &Paths) -> PathBuf {
        absolute(&paths.home.join("ssh")).join(self.uid.to_string())
    }

    /// Writes the files for a cluster; those that are as they should be are left alone.
    ///
    /// # Errors
    /// When a key cannot be read or a file not be written.
    pub(crate) fn write(self, paths: &Paths, cluster: &ClusterSpec) -> Result<Files> {
        let directory = self.directory(paths).join(&cluster.name);
        make(paths, &directory).map_err(cannot("make the directory", &directory))?;
        let keys = paths.cluster_dir(&cluster.name).join("pki/ssh");
        let copy = |name: &str| {
            let key = keys.join(name);
            let bytes = fs::read(&key).map_err(|error| {
                let hint = format!("`vial up {}` makes what is missing", cluster.name);
                cannot("read", &key)(error).hint(hint)
            })?;
            self.file(&directory.join(name), &bytes)
        };
        let program = std::env::current_exe()
            .map_err(|error| Error::caused("cannot find the path of vial itself", error))?;
        let config = Cluster {
            name: cluster.name.clone(),
            nodes: cluster.nodes.iter().map(|node| node.name.clone()).collect(),
            key: copy("id_ed25519")?,
            known_hosts: copy("known_hosts")?,
            proxy: Proxy {
                program,
                home: absolute(&paths.home),
                run: absolute(&paths.run),
                sudo: self.uid != 0,
            },
        };
        let text = config.config();
        self.file(&directory.join("config"), text.as_bytes())?;
        let whole = config.whole_config();
        Ok(Files {
            whole_config: self.file(&directory.join("whole_config"), whole.as_bytes())?,
            config: text,
        })
    }

    /// Writes a file unless it is there; returns its path.
    fn file(self, path: &Path, bytes: &[u8]) -> Result<PathBuf> {
        if fs::read(path).ok().as_deref() != Some(bytes) {
            replace(path, bytes, Some((self.uid, self.gid))).map_err(cannot("write", path))?;
        }
        Ok(path.to_path_buf())
    }
}

/// Files of the cluster for the person at the keyboard, and where the keeper finds that person's home: for the names of pods.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn write_at_keyboard(paths: &Paths, cluster: &ClusterSpec) -> Result<()> {
    let person = Person::at_keyboard();
    person.write(paths, cluster)?;
    // Who has no home has no names of pods there.
    if let Ok(home) = Person::home_at_keyboard() {
        let named = person.directory(paths).join(HOME);
        let text = format!("{}\n", home.dir.display());
        vial_cloud::ssh::put(&named, text.as_bytes(), None).map_err(cannot("write", &named))?;
    }
    Ok(())
}

/// After an `up`: for the person at the keyboard, and for those who have files of the cluster already.
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn refresh(paths: &Paths, cluster: &ClusterSpec) -> Result<()> {
    write_at_keyboard(paths, cluster)?;
    let mut persons = Vec::new();
    for directory in of_cluster(paths, &cluster.name)? {
        if let Ok(config) = fs::metadata(directory.join("config")) {
            let (uid, gid) = (config.uid(), config.gid());
            persons.push(Person { uid, gid });
        }
    }
    for person in persons {
        person.write(paths, cluster)?;
    }
    Ok(())
}

/// Removes the files of a cluster, of everybody.
///
/// # Errors
/// When a file cannot be removed.
pub(crate) fn remove(paths: &Paths, cluster: &str) -> Result<()> {
    for directory in of_cluster(paths, cluster)? {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(cannot("remove", &directory)(error));
            }
            _ => {}
        }
        let person = directory.parent().unwrap_or(&directory);
        let home = forget_pods(person);
        // These fail while there are other clusters or persons.
        if fs::remove_dir(person).is_err() && is_last(person) {
            let _ = fs::remove_file(person.join(HOME));
            let _ = fs::remove_dir(person);
        }
        let _ = fs::remove_dir(paths.home.join("ssh"));
        home?;
    }
    Ok(())
}

/// The short names of a person without those of a cluster that is gone.
fn forget_pods(person: &Path) -> Result<()> {
    let Some(owner) = owner_of(person) else {
        return Ok(());
    };
    let home = owner.dir.clone();
    owner
        .settle()
        .map_err(cannot("write the names of pods in", &home))
}

/// The home that a directory of clusters' files belongs to.
fn owner_of(person: &Path) -> Option<Home> {
    let uid = person.file_name()?.to_str()?.parse().ok()?;
    let dir = PathBuf::from(fs::read_to_string(person.join(HOME)).ok()?.trim_end());
    // Of the group it is enough that it is not root's.
    let gid = fs::metadata(&dir).ok()?.gid();
    let who = Who { uid, gid };
    Some(Home {
        who,
        dir,
        is_login: false,
    })
}

/// Is nothing left but where the home is?
fn is_last(person: &Path) -> bool {
    let mut names = fs::read_dir(person).into_iter().flatten().flatten();
    names.all(|entry| entry.file_name() == HOME)
}

/// Directories of a cluster's files, one for each person.
fn of_cluster(paths: &Paths, cluster: &str) -> Result<Vec<PathBuf>> {
    let all = paths.home.join("ssh");
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(&all)?
            .map(|person| Ok(person?.path().join(cluster)))
            .filter(|path| path.as_ref().map_or(true, |path| path.exists()))
            .collect()
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(cannot("list", &all)),
    }
}

/// Makes `directory` below the home; everybody may pass, whatever the umask says.
fn make(paths: &Paths, directory: &Path) -> io::Result<()> {
    // Once more when another cluster, the last one, went at this moment with the directories above.
    fs::create_dir_all(directory).or_else(|_| fs::create_dir_all(directory))?;
    let home = absolute(&paths.home);
    for made in directory.ancestors().take_while(|path| *path != home) {
        if fs::metadata(made)?.permissions().mode() & 0o777 != 0o755 {
            fs::set_permissions(made, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// From the root, where that can be said.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

fn cannot(operation: &str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let what = format!("cannot {operation} {}", path.display());
    move |error| Error::caused(what, error)
}

#[cfg(test)]
mod tests {
    use vial_spec::Overrides;

    use super::*;

    /// A home with clusters' keys.
    struct Fixture {
        _dir: tempfile::TempDir,
        paths: Paths,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let paths = Paths {
                home: dir.path().join("home"),
                run: dir.path().join("run"),
            };
            fs::create_dir(&paths.home).unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            Self { _dir: dir, paths }
        }

        fn cluster(&self, name: &str, known_hosts: &str) -> ClusterSpec {
            let keys = self.paths.cluster_dir(name).join("pki/ssh");
            fs::create_dir_all(&keys).unwrap();
            fs::write(keys.join("id_ed25519"), "key").unwrap();
            fs::write(keys.join("known_hosts"), known_hosts).unwrap();
            crate::wanted::from_flags(name, Overrides::default(), None).unwrap()
        }

        /// Path and mode of everything in the home's `ssh`.
        fn files(&self) -> Vec<String> {
            let mut all = Vec::new();
            let mut below = vec![self.paths.home.join("ssh")];
            while let Some(path) = below.pop() {
                let Ok(metadata) = fs::symlink_metadata(&path) else {
                    continue;
                };
                if metadata.is_dir() {
                    below.extend(fs::read_dir(&path).unwrap().map(|one| one.unwrap().path()));
                }
                let name = path.strip_prefix(&self.paths.home).unwrap().display();
                all.push(format!("{name} {:o}", metadata.mode() & 0o777));
            }
            all.sort();
            all
        }
    }

    #[test]
    fn only_the_person_may_read_a_key() {
        let (fixture, me) = (Fixture::new(), Person::of_process());
        let cluster = fixture.cluster("dev", "hosts");
        me.write(&fixture.paths, &cluster).unwrap();
        let uid = me.uid;
        let expected = [
            "ssh 755".to_owned(),
            format!("ssh/{uid} 755"),
            format!("ssh/{uid}/dev 755"),
            format!("ssh/{uid}/dev/config 600"),
            format!("ssh/{uid}/dev/id_ed25519 600"),
            format!("ssh/{uid}/dev/known_hosts 600"),
            format!("ssh/{uid}/dev/whole_config 600"),
        ];
        assert_eq!(fixture.files(), expected);
    }

    #[test]
    fn files_follow_the_cluster_and_go_with_it() {
        let fixture = Fixture::new();
        let paths = &fixture.paths;
        refresh(paths, &fixture.cluster("one", "old")).unwrap();
        refresh(paths, &fixture.cluster("two", "")).unwrap();
        refresh(paths, &fixture.cluster("one", "new")).unwrap();
        let own = Person::at_keyboard().directory(paths);
        let known_hosts = fs::read_to_string(own.join("one/known_hosts")).unwrap();
        assert_eq!(known_hosts, "new");

        remove(paths, "one").unwrap();
        let files = fixture.files();
        assert!(files.iter().all(|file| !file.contains("/one")), "{files:?}");
        assert!(files.iter().any(|file| file.contains("/two/config")));
        remove(paths, "one").unwrap();
        remove(paths, "two").unwrap();
        assert!(fixture.files().is_empty());
    }

    #[test]
    fn whoever_called_sudo_gets_files_of_their_own() {
        if !rustix::process::geteuid().is_root() {
            return vial_testing::skip("only root gives files away");
        }
        let fixture = Fixture::new();
        let paths = &fixture.paths;
        let (uid, gid) = (1234, 5678);
        let person = Person { uid, gid };
        let cluster = fixture.cluster("dev", "old");
        let config = person.write(paths, &cluster).unwrap().config;
        assert!(config.contains("ProxyCommand sudo "), "{config}");
        let own = person.directory(paths).join("dev");
        let key = fs::metadata(own.join("id_ed25519")).unwrap();
        assert_eq!((key.uid(), key.gid()), (uid, gid));
        assert_eq!(fs::metadata(&own).unwrap().uid(), 0);
        let include = person.include(paths);
        assert!(include.ends_with("/home/ssh/1234/*/config"), "{include}");

        // A home that lets nobody pass is found.
        for (mode, obstacle) in [(0o711, None), (0o700, Some(&paths.home))] {
            fs::set_permissions(&paths.home, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(person.obstacle(paths).as_ref(), obstacle);
        }

        // An `up` of somebody else keeps them true.
        refresh(paths, &fixture.cluster("dev", "new")).unwrap();
        let known_hosts = fs::read_to_string(own.join("known_hosts")).unwrap();
        assert_eq!(known_hosts, "new");
    }
}
