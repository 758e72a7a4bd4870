//! The root of a container: an overlay of the image's layers, and all that is mounted over it.

use std::path::Path;

use vial_sys::cgroup::Layout;
use vial_sys::mounts::{self, Flags, Tree};
use vial_sys::{During, SysError};

use super::spec::LaunchSpec;
use super::tunables;
use crate::root::cgroups;
use crate::root::devices::{Devices, USUAL};

/// The static binary, as seen in the container: on a tmpfs, so that no image and no upper is changed for it.
pub(super) const AGENT: &str = "/run/vial-agent";
/// Where the agent serves, as seen in the container.
pub(super) const AGENT_SOCKET: &str = "/run/vial/agent.sock";
/// Where the agent's own output goes, as seen in the container.
pub(super) const AGENT_LOG: &str = "/run/vial/agent.log";

/// In the sandbox: where the new root and the overlay's options are put together. Every container has its own mount
/// namespace, so all use the same places.
const PLACE: &str = "/run/vial-root";
const SCRATCH: &str = "/run/vial-layers";

/// Builds it and makes it the root. The mount namespace must be a private one, the network namespace the node's.
pub(super) fn build(spec: &LaunchSpec, layout: &Layout) -> Result<(), SysError> {
    let agent = Tree::take(Path::new("/vial/bin/vial"))?.read_only()?;
    let run = Tree::take(spec.run_dir())?;
    let devices = Devices::take(USUAL)?;
    let mut sources = Vec::with_capacity(spec.mounts.len());
    for mount in &spec.mounts {
        let tree = mount.source.as_deref().map(Tree::take).transpose()?;
        sources.push(if mount.read_only {
            tree.map(Tree::read_only).transpose()?
        } else {
            tree
        });
    }
    let (upper, work) = (spec.upper.join("upper"), spec.upper.join("work"));
    mounts::overlay(
        Path::new(PLACE),
        &spec.lower,
        &upper,
        &work,
        Path::new(SCRATCH),
    )?;
    mounts::pivot(Path::new(PLACE))?;

    system(layout)?;
    devices.mount()?;
    let flags = Flags::NOSUID | Flags::NODEV;
    tunables::shadow()?;
    mounts::tmpfs(Path::new("/run"), flags, "755")?;
    mounts::tmpfs(Path::new("/tmp"), flags, "1777")?;
    run.attach(Path::new("/run/vial"))?;
    agent.attach(Path::new(AGENT))?;
    for (mount, source) in spec.mounts.iter().zip(sources) {
        match source {
            Some(tree) => tree.attach(&mount.target)?,
            None => {
                mounts::tmpfs(&mount.target, flags, "755")?;
                if mount.read_only {
                    mounts::set_read_only(&mount.target, true)?;
                }
            }
        }
    }
    mounts::make_shared()?;
    std::env::set_current_dir("/").during(|| "change to /".to_owned())
}

/// /proc, /sys and what of them may be written.
fn system(layout: &Layout) -> Result<(), SysError> {
    let flags = Flags::NOSUID | Flags::NODEV | Flags::NOEXEC;
    mounts::mount("proc", Path::new("/proc"), flags, "")?;
    // Settings of the machine's kernel are read-only, but those of the network namespace are the node's own.
    let net = Tree::take(Path::new("/proc/sys/net"))?;
    for path in ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"].map(Path::new) {
        if path.exists() {
            Tree::take(path)?.read_only()?.attach(path)?;
        }
    }
    net.attach(Path::new("/proc/sys/net"))?;
    mounts::mount("sysfs", Path::new("/sys"), flags, "")?;
    cgroups::mount(layout)?;
    // Of this mount only: the file system behind it is shared with pods in the node's network namespace.
    mounts::set_read_only(Path::new("/sys"), true)
}
