//! Root file systems: verified packages, unpacked and configured in a directory.
//!
//! ```text
//! base:   unpack the Essential packages here ─► dpkg installs them again, in the chroot ─► dpkg installs the rest ─► clean
//! layer:  overlay(base, new directory) ───────────────────────────────────────────────► dpkg installs its own  ─► clean
//! ```
//! dpkg runs in the new root, in namespaces of its own ([`Chroot`]): no network, no process of the host in sight, and no
//! service started. What is left is a function of the lock alone: logs, caches, keys and identities are removed, and no
//! file is newer than the lock's epoch.
//!
//! # On failure
//! The target is left as it is, for a look; it was empty or absent before, and the caller removes it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use vial_sys::chroot::Chroot;

use super::deb;
use super::error::DebianError;
use super::fetch;
use super::lock::{Lock, LockedPackage};
use super::progress::{Progress, Report};

mod clean;

/// Where the chroot sees the packages.
const PACKAGES: &str = "packages";
/// How many lines of a failed program's output an error shows.
const TAIL: usize = 40;
/// Left out: documentation that nobody reads in a node. Licences stay.
const EXCLUDED: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/linda",
    "usr/share/groff",
];

/// Builds a base in `target`, which is made when it is missing and must be empty, from packages in `cache`.
///
/// Blocking, for some ten seconds; needs root.
pub fn build(
    lock: &Lock,
    cache: &Path,
    target: &Path,
    report: Report<'_>,
) -> Result<(), DebianError> {
    let mut setup = Setup::new(lock, cache, target, Chroot::new(target), report)?;
    setup.verify()?;
    let bootstrap: Vec<_> = lock
        .packages
        .iter()
        .filter(|package| package.bootstrap)
        .collect();
    for package in &bootstrap {
        setup.tell("unpacking", &package.package);
        deb::unpack(&cache.join(package.file_name()), target, &wanted)?;
    }
    setup.prepare()?;
    setup.provide(None)?;
    setup.run(
        "dpkg --install of the essential packages",
        &["--install", "--force-depends"],
        &bootstrap,
    )?;
    setup.install(
        lock.packages
            .iter()
            .filter(|package| !package.bootstrap)
            .collect(),
    )?;
    clean::clean(target, lock.epoch)
}

/// Builds what `lock` adds to `base` (an unpacked base that is only read), as a directory with nothing but the difference.
///
/// `target` is made when it is missing and must be empty; the overlay's scratch directories are made beside it and
/// removed. A file of the base that a package removes is left as an overlay whiteout (a character device 0/0).
pub fn build_layer(
    lock: &Lock,
    base: &Path,
    cache: &Path,
    target: &Path,
    report: Report<'_>,
) -> Result<(), DebianError> {
    let beside = |suffix: &str| {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        target.with_file_name(name)
    };
    let (mount, work) = (beside(".mount"), beside(".work"));
    for path in [&mount, &work] {
        remove_all(path)?;
        fs::create_dir_all(path).map_err(DebianError::io("create", path))?;
    }
    let result = (|| {
        let mut setup = Setup::new(
            lock,
            cache,
            target,
            Chroot::overlay(&mount, base, target, &work),
            report,
        )?;
        setup.verify()?;
        setup.prepare()?;
        setup.provide(Some(base))?;
        setup.install(lock.packages.iter().collect())?;
        clean::clean(target, lock.epoch)
    })();
    remove_all(&mount)?;
    remove_all(&work)?;
    result
}

fn remove_all(path: &Path) -> Result<(), DebianError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DebianError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether a path of a package is wanted; dpkg is told the same in [`Setup::run`].
fn wanted(path: &Path) -> bool {
    !EXCLUDED
        .iter()
        .any(|excluded| path.starts_with(excluded) && path != Path::new(excluded))
        || is_licence(path)
}

fn is_licence(path: &Path) -> bool {
    path.starts_with("usr/share/doc")
        && (path.file_name().is_some_and(|name| name == "copyright")
            || path.components().count() == 4)
}

struct Setup<'a> {
    lock: &'a Lock,
    cache: &'a Path,
    target: &'a Path,
    chroot: Chroot,
    report: Report<'a>,
    done: u64,
    total: u64,
}

impl<'a> Setup<'a> {
    fn new(
        lock: &'a Lock,
        cache: &'a Path,
        target: &'a Path,
        chroot: Chroot,
        report: Report<'a>,
    ) -> Result<Self, DebianError> {
        fs::create_dir_all(target).map_err(DebianError::io("create", target))?;
        let mut entries = fs::read_dir(target).map_err(DebianError::io("read", target))?;
        if entries.next().is_some() {
            return Err(DebianError::io("build a root file system in", target)(
                std::io::ErrorKind::DirectoryNotEmpty.into(),
            ));
        }
        // dpkg says "Unpacking" and "Setting up" once for each package.
        let bootstrap = lock
            .packages
            .iter()
            .filter(|package| package.bootstrap)
            .count();
        let total = (bootstrap + 2 * lock.packages.len()) as u64;
        Ok(Self {
            lock,
            cache,
            target,
            chroot: chroot.show(cache, PACKAGES),
            report,
            done: 0,
            total,
        })
    }

    fn tell(&mut self, phase: &'static str, item: &str) {
        self.done = (self.done + 1).min(self.total);
        (self.report)(Progress {
            phase,
            item: item.to_owned(),
            done: self.done,
            total: Some(self.total),
        });
    }

    /// Right before they are used: the cache may have been changed since they were fetched.
    fn verify(&self) -> Result<(), DebianError> {
        self.lock.packages.iter().try_for_each(|package| {
            fetch::verify(&self.cache.join(package.file_name()), &package.expected())
        })
    }

    fn write(&self, path: &str, content: &str, mode: u32) -> Result<PathBuf, DebianError> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.target.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(DebianError::io("create", parent))?;
        }
        fs::write(&path, content).map_err(DebianError::io("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .map_err(DebianError::io("set the mode of", &path))?;
        Ok(path)
    }

    /// What maintainer scripts expect to find.
    fn prepare(&self) -> Result<(), DebianError> {
        // https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt: 101 is "not allowed".
        self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)?;
        let master = self.target.join("usr/share/base-passwd");
        if master.exists() {
            // As base-passwd's preinst does, but before dpkg asks for the owners of the first files.
            for name in ["passwd", "group"] {
                let from = master.join(format!("{name}.master"));
                let to = self.target.join("etc").join(name);
                fs::copy(&from, &to).map_err(DebianError::io("copy", &from))?;
            }
            // As debootstrap does: scripts use awk before mawk's own script has made the link.
            let awk = self.target.join("usr/bin/awk");
            if !awk.is_symlink() && self.target.join("usr/bin/mawk").exists() {
                std::os::unix::fs::symlink("mawk", &awk).map_err(DebianError::io("link", &awk))?;
            }
        }
        Ok(())
    }

    /// Writes dpkg's first database: empty, or the base's, with a package that provides what is assumed.
    fn provide(&self, base: Option<&Path>) -> Result<(), DebianError> {
        const STATUS: &str = "var/lib/dpkg/status";
        let mut status = String::new();
        if let Some(base) = base {
            let path = base.join(STATUS);
            status = fs::read_to_string(&path).map_err(DebianError::io("read", &path))?;
        }
        if !self.lock.assumed.is_empty() {
            let names = self.lock.assumed.join(", ");
            status += &format!(
                "\nPackage: vial-provides\nStatus: install ok installed\nPriority: optional\nSection: misc\nMaintainer: vial\nArchitecture: all\n\
                 Version: 1\nProvides: {names}\nDescription: what vial does itself in place of these packages\n"
            );
        }
        if !self.lock.assumed.is_empty() {
            self.write("var/lib/dpkg/info/vial-provides.list", "/.\n", 0o644)?;
            self.write("var/lib/dpkg/info/vial-provides.md5sums", "", 0o644)?;
        }
        if base.is_none() || !self.lock.assumed.is_empty() {
            self.write(STATUS, status.trim_start_matches('\n'), 0o644)?;
        }
        if base.is_none() {
            for name in ["info", "updates"] {
                let path = self.target.join("var/lib/dpkg").join(name);
                fs::create_dir_all(&path).map_err(DebianError::io("create", &path))?;
            }
        }
        Ok(())
    }

    fn install(&mut self, packages: Vec<&LockedPackage>) -> Result<(), DebianError> {
        if !packages.is_empty() {
            // Forced: what a package pre-depends on is unpacked before it, but configured only afterwards.
            self.run("dpkg --unpack", &["--unpack", "--force-depends"], &packages)?;
        }
        self.run("dpkg --configure", &["--configure", "--pending"], &[])?;
        let left = self.run("dpkg --audit", &["--audit"], &[])?;
        match left.is_empty() {
            true => Ok(()),
            false => Err(self.step_error("dpkg --audit", "packages are not installed", left)),
        }
    }

    /// Runs dpkg in the new root and returns the last lines it printed.
    fn run(
        &mut self,
        step: &str,
        arguments: &[&str],
        packages: &[&LockedPackage],
    ) -> Result<Vec<String>, DebianError> {
        let chroot_error = |source| DebianError::Chroot {
            root: self.target.to_path_buf(),
            source,
        };
        let (reader, writer) = std::io::pipe().map_err(chroot_error)?;
        let mut command =
            self.chroot
                .command("/usr/bin/dpkg")
                .map_err(|error| DebianError::Chroot {
                    root: self.target.to_path_buf(),
                    source: std::io::Error::other(error.line()),
                })?;
        command
            .env_clear()
            .envs([
                ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                ("HOME", "/root"),
                ("LC_ALL", "C.UTF-8"),
                ("TZ", "UTC"),
                ("TERM", "dumb"),
            ])
            .envs([
                ("DEBIAN_FRONTEND", "noninteractive"),
                ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
                ("DEBCONF_NOWARNINGS", "yes"),
            ])
            .env("SOURCE_DATE_EPOCH", self.lock.epoch.to_string())
            .args(["--force-unsafe-io", "--force-confnew", "--log=/dev/null"])
            .args(
                EXCLUDED
                    .iter()
                    .map(|path| format!("--path-exclude=/{path}/*")),
            )
            .arg("--path-include=/usr/share/doc/*/copyright")
            .args(arguments)
            .args(
                packages
                    .iter()
                    .map(|package| format!("/run/{PACKAGES}/{}", package.file_name())),
            )
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(chroot_error)?)
            .stderr(writer);
        let mut child = command.spawn().map_err(chroot_error)?;
        // The command holds the pipe's other end.
        drop(command);
        let mut tail = Vec::new();
        for line in BufReader::new(reader).split(b'\n') {
            let line = String::from_utf8_lossy(
                &line.map_err(DebianError::io("read what dpkg prints in", self.target))?,
            )
            .into_owned();
            let item = |prefix| {
                line.strip_prefix(prefix)
                    .and_then(|rest: &str| rest.split_whitespace().next())
                    .map(str::to_owned)
            };
            if let Some(item) = item("Unpacking ") {
                self.tell("unpacking", &item);
            } else if let Some(item) = item("Setting up ") {
                self.tell("configuring", &item);
            }
            tracing::debug!(step, line);
            if tail.len() == TAIL {
                tail.remove(0);
            }
            tail.push(line);
        }
        let status = child
            .wait()
            .map_err(DebianError::io("wait for dpkg in", self.target))?;
        if !status.success() {
            return Err(self.step_error(step, &status.to_string(), tail));
        }
        Ok(tail)
    }

    fn step_error(&self, step: &str, status: &str, output: Vec<String>) -> DebianError {
        DebianError::Step {
            step: step.to_owned(),
            root: self.target.to_path_buf(),
            status: status.to_owned(),
            output: output.join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_documentation_out_but_licences_in() {
        for (path, expected) in [
            ("usr/bin/ls", true),
            ("usr/share/doc", true),
            ("usr/share/doc/bash", true),
            ("usr/share/doc/bash/copyright", true),
            ("usr/share/doc/bash/README", false),
            ("usr/share/doc/bash/examples/copyright.sh", false),
            ("usr/share/locale/de/LC_MESSAGES/x.mo", false),
            ("usr/share/man/man1/ls.1.gz", false),
        ] {
            assert_eq!(wanted(Path::new(path)), expected, "{path}");
        }
    }
}
