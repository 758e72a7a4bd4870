//! `~/.ssh/vial` of a person: made at the first use, and the short names in it.
//!
//! ```text
//! missing ── prepare ──► key, config ── put_context, keepers ──► names of pods ── settle ──► short names
//! ```
//! Everything is done with the rights of the person ([`Who::act`]). Files appear whole; `names` is made from what is there,
//! under a lock, so that those who come at once end with the same.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use vial_pki::ssh::UserKey;

use super::config::Text;
use super::files::{put, put_with_mode, read, read_text};
use super::quote::word;
use super::{Who, install, names};

/// How long somebody else may be at work on the short names.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keys that OpenSSH takes by itself (ssh_config(5), IdentityFile); once one is named it does no longer.
const OWN_KEYS: [&str; 5] = [
    "id_rsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
];

/// The home of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Whose.
    pub who: Who,
    /// Where.
    pub dir: PathBuf,
    /// Is it the one that OpenSSH takes for `~`, which is that of passwd(5) whatever HOME says?
    pub is_login: bool,
}

/// What became of the line in `~/.ssh/config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It is as it was.
    Unchanged,
    /// The file was changed.
    Changed,
}

impl Home {
    /// `~/.ssh/vial`.
    #[must_use]
    pub fn vial(&self) -> PathBuf {
        self.dir.join(".ssh/vial")
    }

    /// The configuration of all pods and nodes, beside the person's own: for `ssh -F`.
    #[must_use]
    pub fn whole_config(&self) -> PathBuf {
        self.vial().join("whole_config")
    }

    /// The line of `~/.ssh/config`.
    #[must_use]
    pub fn line(&self) -> String {
        match self.is_login {
            true => "Include ~/.ssh/vial/config".to_owned(),
            false => format!("Include {}", word(&self.vial().join("config"))),
        }
    }

    /// The private keys that pods are opened with.
    #[must_use]
    pub fn keys(&self) -> Vec<PathBuf> {
        let own = OWN_KEYS.map(|name| self.dir.join(".ssh").join(name));
        let exists = |path: &PathBuf| self.who.act(|| Ok(path.is_file())).unwrap_or_default();
        let mut keys = vec![self.vial().join("id_ed25519")];
        keys.extend(own.into_iter().filter(exists));
        keys
    }

    /// Makes what is missing: directories, the key, the configuration that includes all others, those of clusters below
    /// `clusters` (`$VIAL_HOME/ssh/UID`) too. Gives the public half of the key, fit for `authorized_keys`.
    ///
    /// # Errors
    /// When something of it cannot be made, or belongs to somebody else.
    pub fn prepare(&self, clusters: &Path) -> io::Result<String> {
        self.who.act(|| {
            self.make_directories()?;
            let key = self.key()?;
            let includes = self.includes(clusters);
            let mut config = String::from("# Where ssh finds pods and nodes, written by vial.\n");
            for include in &includes {
                config.push_str(&format!("Include {}\n", word(include)));
            }
            put(&self.vial().join("config"), config.as_bytes(), None)?;
            let whole =
                format!("{config}Match all\nInclude ~/.ssh/config\nInclude /etc/ssh/ssh_config\n");
            put(&self.whole_config(), whole.as_bytes(), None)?;
            Ok(key)
        })
    }

    /// Was [`prepare`](Self::prepare) done?
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        let config = self.vial().join("config");
        self.who.act(|| Ok(config.is_file())).unwrap_or_default()
    }

    /// The names and host keys of the pods of a cluster that has no keeper here; none removes them. `namespace`: only that
    /// one is known of, what was written of others stays.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn put_context(
        &self,
        context: &str,
        namespace: Option<&str>,
        write: impl FnOnce(&Path) -> Text + Send,
    ) -> io::Result<()> {
        let (config, known_hosts) = self.of_context(context);
        self.who.act(|| {
            let _locked = self.lock()?;
            let mut text = write(&known_hosts);
            if let Some(namespace) = namespace {
                let (old, old_hosts) = (read_text(&config), read_text(&known_hosts));
                let (old, old_hosts) = names::elsewhere(&old, &old_hosts, namespace);
                text.config.push_str(&old);
                text.known_hosts.push_str(&old_hosts);
            }
            if text.config.is_empty() {
                return remove(&config).and_then(|()| remove(&known_hosts));
            }
            // Whoever finds a name finds its key.
            put(&known_hosts, text.known_hosts.as_bytes(), None)?;
            put(&config, text.config.as_bytes(), None)?;
            Ok(())
        })
    }

    /// Where [`put_context`](Self::put_context) writes: configuration and known hosts.
    fn of_context(&self, context: &str) -> (PathBuf, PathBuf) {
        let contexts = self.vial().join("contexts");
        (
            contexts.join(format!("{context}.conf")),
            contexts.join(format!("{context}.known_hosts")),
        )
    }

    /// Forgets a context.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn remove_context(&self, context: &str) -> io::Result<()> {
        let (config, known_hosts) = self.of_context(context);
        self.who
            .act(|| remove(&config).and_then(|()| remove(&known_hosts)))
    }

    /// Puts the short names together from all configurations that are there now. Does nothing for who has no
    /// `~/.ssh/vial`.
    ///
    /// # Errors
    /// When they cannot be written, or somebody else is at it for too long.
    pub fn settle(&self) -> io::Result<()> {
        self.who.act(|| {
            if !self.vial().join("config").is_file() {
                return Ok(());
            }
            let _locked = self.lock()?;
            let texts: Vec<String> = self
                .sources()
                .iter()
                .map(|source| read_text(source))
                .collect();
            let short = names::short(texts.iter().map(String::as_str));
            put(&self.vial().join("names"), short.as_bytes(), None)?;
            Ok(())
        })
    }

    /// Is the line in `~/.ssh/config`?
    #[must_use]
    pub fn is_installed(&self) -> bool {
        let config = self.dir.join(".ssh/config");
        self.who
            .act(|| {
                Ok(install::counts(
                    &read(&config)?.unwrap_or_default(),
                    &self.line(),
                ))
            })
            .unwrap_or_default()
    }

    /// Puts the line into `~/.ssh/config`; nothing else of it changes.
    ///
    /// # Errors
    /// When the file, or what its link names, is not the person's, is elsewhere, or cannot be written.
    pub fn install(&self) -> io::Result<Installed> {
        self.who.act(|| {
            self.make_directories()?;
            self.edit(|text| install::with(text, &self.line()))
        })
    }

    /// Takes the line out again.
    ///
    /// # Errors
    /// As [`install`](Self::install).
    pub fn uninstall(&self) -> io::Result<Installed> {
        self.who
            .act(|| self.edit(|text| install::without(text, &self.line())))
    }

    fn edit(&self, change: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> io::Result<Installed> {
        let link = self.dir.join(".ssh/config");
        let path = match link.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) if link.is_symlink() => {
                return Err(io::Error::other("it is a link that leads nowhere"));
            }
            Err(_) => link,
        };
        self.check_inside(&path)?;
        let text = read(&path)?;
        let Some(new) = change(text.as_deref().unwrap_or_default()) else {
            return Ok(Installed::Unchanged);
        };
        if new.is_empty() {
            remove(&path)?;
            return Ok(Installed::Changed);
        }
        let mode = match text {
            Some(_) => fs::metadata(&path)?.mode() & 0o777,
            None => 0o600,
        };
        put_with_mode(&path, &new, None, mode)?;
        Ok(Installed::Changed)
    }

    /// Links are followed as far as the home goes, and only to what is the person's.
    fn check_inside(&self, path: &Path) -> io::Result<()> {
        let home = self.dir.canonicalize()?;
        let real = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = path.parent().unwrap_or(Path::new("/")).canonicalize()?;
                above.join(path.file_name().unwrap_or_default())
            }
            real => real?,
        };
        if !real.starts_with(&home) {
            let text = format!(
                "it is a link to {}, which is not in the home",
                real.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        match fs::metadata(&real) {
            Ok(file) if file.uid() != self.who.uid => {
                let text = format!("{} belongs to somebody else", real.display());
                Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
            }
            _ => Ok(()),
        }
    }

    fn make_directories(&self) -> io::Result<()> {
        for directory in [".ssh", ".ssh/vial", ".ssh/vial/contexts"] {
            let path = self.dir.join(directory);
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.check_inside(&path)?,
            }
        }
        Ok(())
    }

    /// The public half; both halves are made when the private one is missing.
    fn key(&self) -> io::Result<String> {
        let private = self.vial().join("id_ed25519");
        let public = private.with_extension("pub");
        let _locked = self.lock()?;
        if private.exists()
            && let Some(line) = read_text(&public).lines().next()
        {
            return Ok(line.trim().to_owned());
        }
        let key = match read(&private)? {
            Some(text) => {
                let text = String::from_utf8(text).map_err(io::Error::other)?;
                UserKey::of_private(&text).map_err(io::Error::other)?
            }
            None => UserKey::generate("vial").map_err(io::Error::other)?,
        };
        put(&private, key.private.as_bytes(), None)?;
        put(&public, format!("{}\n", key.public).as_bytes(), None)?;
        Ok(key.public)
    }

    /// What the configuration includes: other homes of vial stay as long as they are there.
    fn includes(&self, clusters: &Path) -> Vec<PathBuf> {
        let vial = self.vial();
        let mut all = vec![vial.join("names"), vial.join("contexts/*.conf")];
        let mut roots = vec![clusters.to_owned()];
        for root in self.roots() {
            if !roots.contains(&root) && root.is_dir() {
                roots.push(root);
            }
        }
        // Pods first: the nodes' section counts for whatever is not named before.
        all.extend(roots.iter().map(|root| root.join("*/pods")));
        all.extend(roots.iter().map(|root| root.join("*/config")));
        all
    }

    /// The directories of clusters that are included now.
    fn roots(&self) -> Vec<PathBuf> {
        let config = read_text(&self.vial().join("config"));
        let named = config.lines().filter_map(|line| {
            let path = line.strip_prefix("Include ")?.strip_suffix("/*/pods")?;
            Some(PathBuf::from(path))
        });
        // What had to be quoted is added anew by the next command of its home.
        named.filter(|path| path.is_absolute()).collect()
    }

    /// The files that have names of pods.
    fn sources(&self) -> Vec<PathBuf> {
        let list = |directory: &Path| {
            let listed = fs::read_dir(directory).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = listed.map(|entry| entry.path()).collect();
            paths.sort();
            paths
        };
        let mut sources = list(&self.vial().join("contexts"));
        sources.retain(|path| path.extension().is_some_and(|end| end == "conf"));
        for root in self.roots() {
            sources.extend(list(&root).into_iter().map(|cluster| cluster.join("pods")));
        }
        sources
    }

    fn lock(&self) -> io::Result<File> {
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(nonblock)
            .open(self.vial().join("lock"))?;
        let since = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if since.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::config::tests::{of, pod};
    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
        home: Home,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let home = Home {
                who: Who::of_process(),
                dir: dir.path().join("home"),
                is_login: true,
            };
            fs::create_dir(&home.dir).unwrap();
            Self { dir, home }
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.home.dir.join(path)).unwrap()
        }
    }

    #[test]
    fn a_key_is_made_once_and_its_public_half_again() {
        let fixture = Fixture::new();
        let clusters = fixture.dir.path().join("vial");
        let line = fixture.home.prepare(&clusters).unwrap();
        assert_eq!(fixture.home.prepare(&clusters).unwrap(), line);
        let public = fixture.home.vial().join("id_ed25519.pub");
        fs::remove_file(public).unwrap();
        assert_eq!(fixture.home.prepare(&clusters).unwrap(), line);
        let private = fs::metadata(fixture.home.vial().join("id_ed25519")).unwrap();
        assert_eq!(private.mode() & 0o777, 0o600);
    }

    #[test]
    fn several_homes_of_vial_are_included_while_they_are_there() {
        let fixture = Fixture::new();
        let (one, two) = (
            fixture.dir.path().join("one"),
            fixture.dir.path().join("two"),
        );
        fs::create_dir(&one).unwrap();
        fixture.home.prepare(&one).unwrap();
        fixture.home.prepare(&two).unwrap();
        let config = fixture.read(".ssh/vial/config");
        let line = |root: &Path, file| format!("Include {}/*/{file}\n", root.display());
        for (root, file) in [(&one, "pods"), (&two, "pods"), (&one, "config")] {
            assert!(config.contains(&line(root, file)), "{config}");
        }
        fs::remove_dir(&one).unwrap();
        fixture.home.prepare(&two).unwrap();
        let config = fixture.read(".ssh/vial/config");
        assert!(!config.contains(&line(&one, "pods")), "{config}");
    }

    #[test]
    fn short_names_follow_all_who_write() {
        let fixture = Fixture::new();
        let (home, clusters) = (&fixture.home, fixture.dir.path().join("vial"));
        home.settle().unwrap();
        assert!(!home.vial().exists(), "nobody asked for it");
        home.prepare(&clusters).unwrap();
        fs::create_dir_all(clusters.join("dev")).unwrap();
        let keeper = of("dev", &[pod("vial-pods", "a")]).config;
        fs::write(clusters.join("dev/pods"), keeper).unwrap();
        home.settle().unwrap();
        assert!(
            fixture
                .read(".ssh/vial/names")
                .starts_with("Host a\n  User")
        );

        let write = |pods: &[_]| {
            let text = of("prod", pods);
            home.put_context("prod", None, move |_| text).unwrap();
            home.settle().unwrap();
            fixture.read(".ssh/vial/names")
        };
        let names = write(&[pod("x", "a"), pod("x", "b")]);
        assert!(names.contains("say a.prod.vial or a.dev.vial"), "{names}");
        let names = write(&[]);
        assert_eq!(names.matches("Host ").count(), 1, "{names}");
        let left = fs::read_dir(home.vial().join("contexts")).unwrap().count();
        assert_eq!(left, 0);
    }

    #[test]
    fn the_line_is_put_into_a_file_of_ones_own_only() {
        let fixture = Fixture::new();
        let (home, config) = (&fixture.home, fixture.home.dir.join(".ssh/config"));
        assert_eq!(home.install().unwrap(), Installed::Changed);
        assert_eq!(home.install().unwrap(), Installed::Unchanged);
        assert_eq!(fixture.read(".ssh/config"), "Include ~/.ssh/vial/config\n");
        assert_eq!(fs::metadata(&config).unwrap().mode() & 0o777, 0o600);
        assert!(home.is_installed());
        assert_eq!(home.uninstall().unwrap(), Installed::Changed);
        assert!(!config.exists());

        // A link within the home stays one.
        let dotfiles = home.dir.join("dotfiles");
        fs::write(&dotfiles, "Host a\n").unwrap();
        symlink("../dotfiles", &config).unwrap();
        home.install().unwrap();
        assert!(config.is_symlink());
        assert_eq!(
            fs::read_to_string(&dotfiles).unwrap(),
            "Include ~/.ssh/vial/config\nHost a\n"
        );

        fs::remove_file(&config).unwrap();
        let outside = fixture.dir.path().join("outside");
        fs::write(&outside, "Host a\n").unwrap();
        symlink(&outside, &config).unwrap();
        let error = home.install().unwrap_err().to_string();
        assert!(error.contains("not in the home"), "{error}");
        assert_eq!(fs::read_to_string(&outside).unwrap(), "Host a\n");
    }
}
