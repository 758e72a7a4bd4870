//! Leaving and entering namespaces (namespaces(7)).
//!
//! Namespaces belong to threads. Mount, user and cgroup namespaces are only left by a process with one thread; a
//! network namespace may be entered by any thread, which must not be given back to a pool afterwards.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};

pub use rustix::thread::UnshareFlags;

use crate::{During, SysError};

/// Moves the calling thread into new namespaces. A new pid namespace holds for children made from now on.
///
/// # Errors
/// When the kernel refuses (no privilege, limits of `user.max_*_namespaces`).
pub fn unshare(kinds: UnshareFlags) -> Result<(), SysError> {
    // SAFETY: unsafe in rustix because of `CLONE_FILES` alone, which would give other threads' descriptors a second
    // owner; it is taken out here.
    unsafe { rustix::thread::unshare_unsafe(kinds - UnshareFlags::FILES) }
        .during(|| "unshare namespaces".to_owned())
}

/// Moves the calling thread into the network namespace bound at `path` (`/run/netns/w-1`).
///
/// # Errors
/// When there is none, or without privilege.
pub fn enter_network_at(path: &Path) -> Result<(), SysError> {
    let operation = || format!("enter the network namespace {}", path.display());
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .during(operation)?;
    enter_network(fd.as_fd()).map_err(|error| SysError {
        operation: operation(),
        source: error.source,
    })
}

/// Moves the calling thread into the network namespace behind a descriptor of `/proc/PID/ns/net` or of a bind of it.
///
/// # Errors
/// When it is none, or without privilege.
pub fn enter_network(namespace: impl AsFd) -> Result<(), SysError> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .during(|| "enter a network namespace".to_owned())
}

/// Moves the calling thread into the network namespace of the process behind a pidfd (Linux 5.8, setns(2)); nothing
/// keeps that namespace alive but the thread and what it opens.
///
/// # Errors
/// `ESRCH` when the process is gone.
pub fn enter_network_of(process: impl AsFd) -> Result<(), SysError> {
    rustix::thread::move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::NETWORK)
        .during(|| "enter the network namespace of a process".to_owned())
}

/// Makes children of the calling thread, from now on, processes of the pid namespace of the process behind a pidfd: they
/// end with its first process (pid_namespaces(7)).
///
/// # Errors
/// `ESRCH` when the process is gone.
pub fn bear_children_beside(process: impl AsFd) -> Result<(), SysError> {
    rustix::thread::move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::PROCESS_ID)
        .during(|| "enter the pid namespace of a process".to_owned())
}

/// The pid here of a process that is `inner` to the process `other`, whose /proc is that of its own pid namespace; `None`
/// when it is gone. It may be in a pid namespace further in.
#[must_use]
pub fn pid_beside(other: u32, inner: u32) -> Option<u32> {
    let wanted = place(&format!("/proc/{other}/root/proc/{inner}"))?;
    let entries = std::fs::read_dir("/proc").ok()?;
    let mut pids =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| place(&format!("/proc/{pid}")).as_ref() == Some(&wanted))
}

/// A process by its innermost pid namespace and its pid there, which is the last of NSpid (proc_pid_status(5)).
fn place(directory: &str) -> Option<(PathBuf, u32)> {
    let namespace = std::fs::read_link(format!("{directory}/ns/pid")).ok()?;
    let status = std::fs::read_to_string(format!("{directory}/status")).ok()?;
    let pids = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    Some((namespace, pids.split_whitespace().last()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_in_the_own_namespace_is_itself() {
        let me = std::process::id();
        assert_eq!(pid_beside(me, me), Some(me));
        assert_eq!(pid_beside(me, u32::MAX), None);
    }
}
