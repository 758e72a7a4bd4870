//! The only one that waits for processes: as PID 1 the server gets every orphan of the container, and its own children
//! among them.
//!
//! One lock covers fork + registration on one side and wait + dispatch on the other. So a child that dies at once is
//! still found registered, and a signal never goes to a pid that was reaped a moment ago.
//!
//! Deliberately absent: `tokio::process`, whose reaper would compete for the same statuses.

use std::collections::HashMap;
use std::io;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed {
        /// Its number.
        signal: i32,
        /// Whether it left a core.
        core: bool,
    },
}

impl Ended {
    /// As shells count it: 128 + signal.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Killed { signal, .. } => 128 + signal,
        }
    }
}

/// Which processes a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The child alone.
    Process,
    /// The process group it leads.
    Group,
}

/// A child.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    /// Resolves when it has ended.
    pub(crate) end: oneshot::Receiver<Ended>,
}

/// Starts, signals and reaps.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    living: Mutex<HashMap<i32, oneshot::Sender<Ended>>>,
}

impl Reaper {
    fn living(&self) -> MutexGuard<'_, HashMap<i32, oneshot::Sender<Ended>>> {
        // Every change of the map is one call: it is whole even if a holder panicked.
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `command`.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let (tell, end) = oneshot::channel();
        let mut living = self.living();
        let pid = command.spawn()?.id().cast_signed();
        living.insert(pid, tell);
        Ok(Child { pid, end })
    }

    /// Sends a signal to a child; nothing happens when it has ended.
    pub(crate) fn signal(&self, pid: i32, signal: Signal, whom: Whom) {
        let living = self.living();
        let Some(pid) = Pid::from_raw(pid).filter(|_| living.contains_key(&pid)) else {
            return;
        };
        // Fails only when all of them have ended, or when the child became somebody this process may not signal.
        let _ = match whom {
            Whom::Process => rustix::process::kill_process(pid, signal),
            Whom::Group => rustix::process::kill_process_group(pid, signal),
        };
    }

    /// Reaps for ever.
    pub(crate) async fn run(&self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            self.reap();
            if children.recv().await.is_none() {
                return Ok(());
            }
        }
    }

    fn reap(&self) {
        let mut living = self.living();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(ended) = ended(status) else { continue };
            if let Some(tell) = living.remove(&pid.as_raw_nonzero().get()) {
                // Nobody has to wait for it.
                let _ = tell.send(ended);
            }
        }
    }
}

/// `None` when the process did not end.
fn ended(status: WaitStatus) -> Option<Ended> {
    /// wait(2): set in the status of a process that left a core.
    const CORE: i32 = 0x80;
    if let Some(code) = status.exit_status() {
        return Some(Ended::Exited(code));
    }
    let signal = status.terminating_signal()?;
    let core = status.as_raw() & CORE != 0;
    Some(Ended::Killed { signal, core })
}
