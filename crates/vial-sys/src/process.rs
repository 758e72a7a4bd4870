//! Forking, descriptors and ends of processes.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::{During, SysError};

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The one that forked: the child's pid in the parent's pid namespace.
    Parent(i32),
    /// The new one.
    Child,
}

/// Forks the process.
///
/// # Errors
/// When other threads run: the child would inherit their locks without them. Else when the kernel refuses.
pub fn fork() -> Result<Fork, SysError> {
    let threads = std::fs::read_dir("/proc/self/task")
        .during(|| "count the threads before a fork".to_owned())?
        .count();
    if threads != 1 {
        return Err(SysError::other(
            "fork",
            format!("{threads} threads run, one was expected"),
        ));
    }
    // SAFETY: only this thread exists (just counted, and only this thread could start another), so the child has every
    // lock and allocator state whole and may go on as an ordinary process.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()).during(|| "fork".to_owned()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Closes every descriptor from `first` on. For the first lines of `main` only, before anything was opened: what a
/// careless parent left open must not live on in a process that outlives it.
///
/// # Errors
/// When the kernel lacks close_range(2) (before Linux 5.9).
pub fn close_inherited(first: u32) -> Result<(), SysError> {
    close_range(first, 0).during(|| "close inherited descriptors".to_owned())
}

/// Marks every descriptor from `first` on to be closed by the next exec.
///
/// # Errors
/// When the kernel lacks `CLOSE_RANGE_CLOEXEC` (before Linux 5.11).
pub fn close_on_exec(first: u32) -> Result<(), SysError> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
        .during(|| "mark descriptors close-on-exec".to_owned())
}

fn close_range(first: u32, flags: u32) -> std::io::Result<()> {
    // SAFETY: takes three integers and touches no memory of ours. Descriptors that are closed this way are either
    // inherited (nobody in this process owns them; see `close_inherited`) or only marked.
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Puts a copy of `fd` at descriptor number `number`, inherited by exec. What was there before is closed.
///
/// # Errors
/// When there are too many descriptors.
pub fn place(fd: impl AsFd, number: i32) -> Result<(), SysError> {
    // SAFETY: two integers; `number` is one of 0 to 2, or meant for the program that is exec'ed next: the callers keep
    // no owner of it in this process ([`move_above`] takes those out of the way that could be there).
    match unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) } {
        -1 => {
            Err(std::io::Error::last_os_error()).during(|| format!("put a descriptor at {number}"))
        }
        _ => Ok(()),
    }
}

/// A copy of `fd`, close-on-exec, at a number above `above`: out of the way of what is placed for the next program.
///
/// # Errors
/// When there are too many descriptors.
pub fn move_above(fd: impl AsFd, above: i32) -> Result<OwnedFd, SysError> {
    rustix::io::fcntl_dupfd_cloexec(fd, above + 1)
        .during(|| format!("copy a descriptor above {above}"))
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its pid, which may be given to another one from now on.
    pub pid: i32,
    /// Exit code, or 128 + signal as shells say.
    pub code: i32,
}

/// Takes the next ended child, when there is one; for a PID 1, which inherits every orphan.
///
/// # Errors
/// Never in practice; no children at all is `None`.
pub fn reap() -> Result<Option<Ended>, SysError> {
    match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
        Ok(Some((pid, status))) => {
            let code = status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            Ok(Some(Ended {
                pid: pid.as_raw_nonzero().get(),
                code: code.unwrap_or(255),
            }))
        }
        Ok(None) | Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(errno) => Err(errno).during(|| "wait for children".to_owned()),
    }
}

/// Blocks until the child `pid` has ended, and takes it.
///
/// # Errors
/// When it is not a child.
pub fn wait(pid: i32) -> Result<(), SysError> {
    let operation = || format!("wait for process {pid}");
    let pid = Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::INVAL)
        .during(operation)?;
    rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).during(operation)?;
    Ok(())
}

/// A pipe, close-on-exec: (read, write).
///
/// # Errors
/// When there are too many descriptors.
pub fn pipe() -> Result<(OwnedFd, OwnedFd), SysError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during(|| "make a pipe".to_owned())
}

/// Becomes the leader of a new session, without a terminal.
///
/// # Errors
/// When it leads a process group already.
pub fn new_session() -> Result<(), SysError> {
    rustix::process::setsid()
        .map(drop)
        .during(|| "start a session".to_owned())
}

/// Sets the host name of the UTS namespace.
///
/// # Errors
/// Without privilege, or when it is longer than 64 bytes.
pub fn set_host_name(name: &str) -> Result<(), SysError> {
    rustix::system::sethostname(name.as_bytes()).during(|| format!("set the host name {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fork_refuses_beside_other_threads() {
        // The test harness itself runs several.
        let error = fork().unwrap_err();
        assert!(
            error.line().contains("one was expected"),
            "{}",
            error.line()
        );
    }
}
