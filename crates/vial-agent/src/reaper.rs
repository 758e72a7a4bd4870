//! The only one that waits for processes: PID 1 gets every orphan of its namespace, and its own children among them.
//!
//! One lock covers fork + registration on one side and wait + dispatch on the other. So a child that dies at once is
//! still found registered, the standard library's own wait for a child whose exec failed never meets a stolen status,
//! and a signal never goes to a pid that was reaped (and perhaps given to another process) a moment ago.
//!
//! Deliberately absent: `tokio::process`, whose reaper would compete for the same statuses.

use std::collections::HashMap;
use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// What happens to the rest of a child's process group when the child has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// Killed: a supervised component ends as a whole.
    Kill,
    /// Left alone, like what a shell's background jobs are.
    Leave,
}

/// Which processes a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The process group the child leads.
    Group,
    /// Every process of the session the child leads, see [`Reaper::signal_session`].
    Session,
}

struct Living {
    tell: oneshot::Sender<i32>,
    leftovers: Leftovers,
}

/// A child that leads its own process group.
pub(crate) struct Child {
    pub(crate) pid: i32,
    /// Resolves to its exit code, 128 + signal when it was killed.
    pub(crate) exit: oneshot::Receiver<i32>,
}

/// Starts, signals and reaps.
#[derive(Default)]
pub(crate) struct Reaper {
    living: Mutex<HashMap<i32, Living>>,
}

impl Reaper {
    fn living(&self) -> MutexGuard<'_, HashMap<i32, Living>> {
        // Every change of the map is one call: it is whole even if a holder panicked.
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `command`, which [`vial_sys::session::prepare`] made leader of its own process group.
    pub(crate) fn spawn(&self, command: &mut Command, leftovers: Leftovers) -> io::Result<Child> {
        let (tell, exit) = oneshot::channel();
        let mut living = self.living();
        let pid = command.spawn()?.id().cast_signed();
        living.insert(pid, Living { tell, leftovers });
        Ok(Child { pid, exit })
    }

    /// Expects a child of that pid, a leader of its own process group, which somebody else is about to make.
    pub(crate) fn expect(&self, pid: i32, leftovers: Leftovers) -> Child {
        let (tell, exit) = oneshot::channel();
        self.living().insert(pid, Living { tell, leftovers });
        Child { pid, exit }
    }

    /// Expects it no more.
    pub(crate) fn forget(&self, pid: i32) {
        self.living().remove(&pid);
    }

    /// Sends `signal` to the process group or session of a child; false when the child has ended.
    pub(crate) fn signal(&self, pid: i32, signal: Signal, whom: Whom) -> bool {
        let living = self.living();
        let Some(leader) = Pid::from_raw(pid).filter(|_| living.contains_key(&pid)) else {
            return false;
        };
        match whom {
            // Fails only when no member may be signalled or is left; neither is news.
            Whom::Group => drop(rustix::process::kill_process_group(leader, signal)),
            Whom::Session => drop(Self::signal_session(pid, signal)),
        }
        true
    }

    /// Sends `signal` to every living process of session `leader`, whose leader may be gone; returns how many there were.
    pub(crate) fn signal_session(leader: i32, signal: Signal) -> usize {
        let members = crate::proc::session_members(leader);
        for pid in members.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // It may have ended since.
            let _ = rustix::process::kill_process(pid, signal);
        }
        members.len()
    }

    /// The pids of the children that have not been reaped.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.living().keys().copied().collect()
    }

    /// Takes every status there is, and tells those who wait for one.
    pub(crate) fn reap(&self) {
        let mut living = self.living();
        // Ends with `None` when no child has ended, with ECHILD when there is none.
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(code) = exit_code(status) else {
                continue;
            };
            let Some(child) = living.remove(&pid.as_raw_nonzero().get()) else {
                continue;
            };
            if child.leftovers == Leftovers::Kill {
                // While a member is left, the kernel does not give the group's number to anybody else (setpgid(2)).
                let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            }
            // Nobody has to wait for it.
            let _ = child.tell.send(code);
        }
    }

    /// Reaps for ever.
    pub(crate) async fn run(self: Arc<Self>) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            self.reap();
            if children.recv().await.is_none() {
                return Ok(());
            }
        }
    }
}

/// The exit code as shells count it, `None` when the process did not end.
fn exit_code(status: WaitStatus) -> Option<i32> {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}
