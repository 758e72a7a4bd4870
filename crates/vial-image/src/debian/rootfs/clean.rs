//! Making a tree a function of its packages: what differs from build to build, or from machine to machine, goes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::debian::error::DebianError;

/// Files that go; a last part of `*` is everything in that directory.
const REMOVED: &[&str] = &[
    // of the build
    "usr/sbin/policy-rc.d",
    "run/*",
    "tmp/*",
    "var/tmp/*",
    "var/log/*",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/.pwd.lock",
    // links of the kernel's package to an initramfs that is not made and to the kernel before the first one
    "initrd.img",
    "initrd.img.old",
    "vmlinuz.old",
    // identities: every node gets its own
    "etc/machine-id",
    "etc/hostname",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "etc/ssh/ssh_host_*",
];

/// Removes them, the overlay's marks and every time later than `epoch` (seconds since 1970).
pub(super) fn clean(root: &Path, epoch: i64) -> Result<(), DebianError> {
    for pattern in REMOVED {
        let (parent, name) = pattern.rsplit_once('/').unwrap_or((".", pattern));
        let (before, after) = name.split_once('*').unwrap_or((name, ""));
        let Ok(entries) = fs::read_dir(root.join(parent)) else {
            continue;
        };
        for entry in entries {
            let entry = entry.map_err(DebianError::io("read", root.join(parent)))?;
            let file_name = entry.file_name();
            let file_name = file_name.to_string_lossy();
            let hit = if name.contains('*') {
                file_name.starts_with(before) && file_name.ends_with(after)
            } else {
                file_name == name
            };
            if hit {
                remove(&entry.path())?;
            }
        }
    }
    settle(root, epoch)
}

fn remove(path: &Path) -> Result<(), DebianError> {
    let directory = path
        .symlink_metadata()
        .map_err(DebianError::io("read", path))?
        .is_dir();
    let removed = if directory {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(DebianError::io("remove", path))
}

/// Children first: changing one changes its directory's time.
fn settle(path: &Path, epoch: i64) -> Result<(), DebianError> {
    let meta = path
        .symlink_metadata()
        .map_err(DebianError::io("read", path))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).map_err(DebianError::io("read", path))? {
            settle(&entry.map_err(DebianError::io("read", path))?.path(), epoch)?;
        }
    }
    strip_overlay_marks(path)?;
    // A directory's time says when something in it was last made: never a property of its packages.
    if meta.mtime() > epoch || meta.is_dir() {
        let time = Timespec {
            tv_sec: epoch,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| DebianError::io("set the time of", path)(errno.into()))?;
    }
    Ok(())
}

/// An overlay's upper directory says in attributes what belongs to which lower file; in a layer they would mean nothing.
fn strip_overlay_marks(path: &Path) -> Result<(), DebianError> {
    let failed =
        |errno: rustix::io::Errno| DebianError::io("read the attributes of", path)(errno.into());
    let mut names = vec![0u8; rustix::fs::llistxattr_query(path).map_err(failed)?];
    if names.is_empty() {
        return Ok(());
    }
    let size = rustix::fs::llistxattr(path, &mut names[..]).map_err(failed)?;
    for name in names[..size]
        .split(|byte| *byte == 0)
        .filter(|name| name.starts_with(b"trusted.overlay."))
    {
        rustix::fs::lremovexattr(path, name).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_differs_and_settles_times() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        let kept = [
            "etc/passwd",
            "etc/ssh/sshd_config",
            "var/lib/dpkg/status",
            "var/cache/debconf/config.dat",
        ];
        let gone = [
            "etc/passwd-",
            "etc/ssh/ssh_host_rsa_key",
            "etc/ssh/ssh_host_rsa_key.pub",
            "var/lib/dpkg/status-old",
            "var/log/apt/term.log",
            "var/cache/debconf/config.dat-old",
        ];
        kept.iter().chain(&gone).for_each(|path| write(path));
        std::os::unix::fs::symlink("/nonexistent", root.path().join("etc/link")).unwrap();
        clean(root.path(), 1_000).unwrap();
        for path in kept {
            assert_eq!(
                root.path().join(path).metadata().unwrap().mtime(),
                1_000,
                "{path}"
            );
        }
        for path in gone {
            assert!(!root.path().join(path).exists(), "{path}");
        }
        for path in ["", "var/log", "etc/link"] {
            assert_eq!(
                root.path().join(path).symlink_metadata().unwrap().mtime(),
                1_000,
                "{path}"
            );
        }
    }
}
