//! Which numbers the next processes get (pid_namespaces(7), `/proc/sys/kernel/ns_last_pid`).

use std::io::Write as _;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::{During, SysError};

/// Has the processes and threads that are made from now on in this pid namespace numbered from `pid + 1` on, as far as
/// these numbers are free.
///
/// A /proc of its own is used, attached nowhere: that of a container is read-only.
///
/// # Errors
/// Without the right to mount, or where the kernel was built without checkpoint and restore.
pub fn number_after(pid: u32) -> Result<(), SysError> {
    let operation = || format!("number processes from {} on", pid + 1);
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).during(operation)?;
    fsconfig_create(&context).during(operation)?;
    let proc = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
    .during(operation)?;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let last = rustix::fs::openat(&proc, "sys/kernel/ns_last_pid", flags, Mode::empty());
    let last = last.during(operation)?;
    std::fs::File::from(last)
        .write_all(pid.to_string().as_bytes())
        .during(operation)
}
