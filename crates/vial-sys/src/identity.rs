//! Which process a pid means: a pid is given again, a pid with its start time and boot is not.
//!
//! The identity is written down by whoever starts a process, and checked by whoever finds it later: first a pidfd is
//! opened, then `/proc/PID/stat` is compared, so the pidfd is either of that very process or thrown away.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::{During, SysError};

/// A process for ever, not only as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// In the pid namespace of whoever wrote it down.
    pub pid: u32,
    /// In clock ticks since boot: field 22 of `/proc/PID/stat` (proc_pid_stat(5)).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl Identity {
    /// The identity of a process that lives now (or is not reaped yet).
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self, SysError> {
        let operation = || format!("identify process {pid}");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).during(operation)?;
        let start_time = start_time(&stat)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in its stat"))
            .during(operation)?;
        let boot_id =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").during(operation)?;
        Ok(Self {
            pid,
            start_time,
            boot_id: boot_id.trim().to_owned(),
        })
    }

    /// Opens the process if it is alive.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that it is gone.
    pub fn open(&self) -> Result<Option<Process>, SysError> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(None) };
        let fd = match rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno).during(|| format!("open process {}", self.pid)),
        };
        let process = Process { fd };
        match Self::of(self.pid) {
            Ok(now) if now == *self && !process.has_ended()? => Ok(Some(process)),
            Ok(_) => Ok(None),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.source.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Field 22. The second field, the command, is in parentheses and may hold anything, spaces and parentheses too.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?
        .1
        .split(' ')
        .nth(22 - 3)?
        .parse()
        .ok()
}

/// A pidfd: one process, which cannot become another one.
#[derive(Debug)]
pub struct Process {
    fd: OwnedFd,
}

impl Process {
    /// Opens a child, or another process that surely is not reaped yet.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(pid: u32) -> Result<Self, SysError> {
        let operation = || format!("open process {pid}");
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(rustix::io::Errno::SRCH)
            .during(operation)?;
        Ok(Self {
            fd: rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK).during(operation)?,
        })
    }

    /// Sends SIGKILL; fine when it has ended already.
    ///
    /// # Errors
    /// Without the right to.
    pub fn kill(&self) -> Result<(), SysError> {
        self.signal(Signal::KILL)
    }

    /// Sends SIGTERM; fine when it has ended already.
    ///
    /// # Errors
    /// Without the right to.
    pub fn terminate(&self) -> Result<(), SysError> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> Result<(), SysError> {
        match rustix::process::pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno).during(|| "signal a process".to_owned()),
        }
    }

    /// Whether it has ended (a zombie has).
    ///
    /// # Errors
    /// Never in practice.
    pub fn has_ended(&self) -> Result<bool, SysError> {
        self.poll(Some(&rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }))
    }

    /// Blocks until it has ended. For a PID 1 of a pid namespace this means that nothing in that namespace lives on:
    /// the kernel ends and reaps all of it first (pid_namespaces(7)).
    ///
    /// # Errors
    /// Never in practice.
    pub fn wait(&self) -> Result<(), SysError> {
        while !self.poll(None)? {}
        Ok(())
    }

    fn poll(&self, timeout: Option<&rustix::event::Timespec>) -> Result<bool, SysError> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno).during(|| "wait for a process".to_owned()),
        }
    }

    /// A second descriptor of it.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn duplicate(&self) -> Result<OwnedFd, SysError> {
        self.fd
            .try_clone()
            .during(|| "duplicate a pidfd".to_owned())
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_survives_a_nasty_command_name() {
        let stat = format!("42 (a) b ) S 1 {} 777 9", vec!["0"; 17].join(" "));
        assert_eq!(start_time(&stat), Some(777));
        assert_eq!(start_time("42 (a) S 1"), None);
    }

    #[test]
    fn a_living_process_is_found_and_a_reused_pid_is_not() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.open().unwrap().is_some());
        assert!(
            Identity {
                start_time: me.start_time + 1,
                ..me.clone()
            }
            .open()
            .unwrap()
            .is_none()
        );
        assert!(
            Identity {
                boot_id: "another".into(),
                ..me
            }
            .open()
            .unwrap()
            .is_none()
        );
    }

    #[test]
    fn an_ended_process_is_gone_even_before_it_is_reaped() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let identity = Identity::of(child.id()).unwrap();
        let process = identity.open().unwrap().unwrap();
        assert!(!process.has_ended().unwrap());
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(
            identity.open().unwrap().is_none(),
            "a zombie counts as gone"
        );
        child.wait().unwrap();
        process.kill().unwrap();
    }
}
