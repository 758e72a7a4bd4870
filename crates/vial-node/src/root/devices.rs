//! /dev: a tmpfs with a few devices, bound from the /dev outside, and terminals of its own.
//!
//! Bound, not made: making device nodes is refused in a user namespace.

use std::os::unix::fs::symlink;
use std::path::Path;

use vial_sys::mounts::{self, Flags, Tree};
use vial_sys::{During, SysError};

/// What every container gets.
pub(crate) const USUAL: &[&str] = &[
    "null", "zero", "full", "random", "urandom", "tty", "kmsg", "fuse", "net/tun",
];
/// What a sandbox gets beside that: for virtual machines in it.
pub(crate) const MACHINES: &[&str] = &["kvm", "vhost-net", "vhost-vsock"];

/// Devices taken from outside.
pub(crate) struct Devices(Vec<(&'static str, Tree)>);

impl Devices {
    /// Takes those of `names` that the present /dev has.
    pub(crate) fn take(
        names: impl IntoIterator<Item = &'static &'static str>,
    ) -> Result<Self, SysError> {
        let present = names
            .into_iter()
            .filter(|name| Path::new("/dev").join(name).exists());
        let taken: Result<_, _> = present
            .map(|name| Ok((*name, Tree::take(&Path::new("/dev").join(name))?)))
            .collect();
        Ok(Self(taken?))
    }

    /// Makes /dev of the root that is the present one.
    pub(crate) fn mount(self) -> Result<(), SysError> {
        let dev = Path::new("/dev");
        mounts::tmpfs(dev, Flags::NOSUID | Flags::NOEXEC, "755")?;
        for (name, tree) in self.0 {
            tree.attach(&dev.join(name))?;
        }
        let flags = Flags::NOSUID | Flags::NOEXEC;
        mounts::mount(
            "devpts",
            &dev.join("pts"),
            flags,
            "newinstance,ptmxmode=0666,mode=620,gid=5",
        )?;
        mounts::tmpfs(&dev.join("shm"), Flags::NOSUID | Flags::NODEV, "1777")?;
        mounts::mount("mqueue", &dev.join("mqueue"), flags | Flags::NODEV, "")?;
        for (name, target) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            symlink(target, dev.join(name)).during(|| format!("link /dev/{name}"))?;
        }
        Ok(())
    }
}
