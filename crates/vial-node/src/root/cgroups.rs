//! /sys/fs/cgroup of a new cgroup namespace: the hierarchies of the machine under the same names, each showing the
//! namespace's own group as its root.

use std::path::Path;

use vial_sys::cgroup::{Group, Kind, Layout, ROOT};
use vial_sys::mounts::{self, Flags};
use vial_sys::{During, SysError};

/// Mounts all hierarchies. /sys must be mounted.
pub(crate) fn mount(layout: &Layout) -> Result<(), SysError> {
    let flags = Flags::NOSUID | Flags::NODEV | Flags::NOEXEC;
    let root = Path::new(ROOT);
    if layout.is_pure_v2() {
        return mounts::mount("cgroup2", root, flags, "");
    }
    mounts::tmpfs(root, flags, "755")?;
    for hierarchy in &layout.hierarchies {
        let (kind, options) = hierarchy.mount_options();
        mounts::mount(kind, &hierarchy.mount_point(), flags, &options)?;
        // Controllers that are mounted together are found under each one's name as well.
        if let Kind::V1(names) = &hierarchy.kind {
            for name in names
                .iter()
                .filter(|name| **name != hierarchy.directory && !name.contains('='))
            {
                let link = root.join(name);
                std::os::unix::fs::symlink(&hierarchy.directory, &link)
                    .during(|| format!("link {}", link.display()))?;
            }
        }
    }
    mounts::set_read_only(root, true)
}

/// Where version 2 has the controllers, processes may only be in leaves (cgroups(7)): moves this one, the only one,
/// into the group `leaf` and lets the groups beside it have the controllers.
pub(crate) fn leave_root(layout: &Layout, leaf: &str) -> Result<(), SysError> {
    if layout.is_pure_v2() {
        let group = Group::new(layout.clone(), leaf);
        group.create_leaf()?;
        group.join()?;
        Group::new(layout.clone(), "").delegate();
    }
    Ok(())
}
