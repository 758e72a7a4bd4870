//! Components that do nothing for a while: SIGSTOP, and SIGCONT in any case.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::FreezeError;
use crate::reaper::{Reaper, Whom};

/// How long a thread may take to halt: one that waits for a disk halts when it is served.
const PATIENCE: Duration = Duration::from_secs(10);

/// Halted from its making to its drop.
pub(super) struct Halted {
    reaper: Arc<Reaper>,
    pids: Vec<i32>,
    since: Instant,
}

impl Halted {
    /// Halts these components, and returns when no thread of theirs runs any more.
    ///
    /// # Errors
    /// When one of them has ended; the others go on.
    pub(super) async fn all(
        reaper: &Arc<Reaper>,
        components: &[(String, i32)],
    ) -> Result<Self, FreezeError> {
        let halted = Self {
            reaper: Arc::clone(reaper),
            pids: components.iter().map(|(_, pid)| *pid).collect(),
            since: Instant::now(),
        };
        for pid in &halted.pids {
            reaper.signal(*pid, Signal::STOP, Whom::Group);
        }
        let waiting = components.iter().map(|(name, pid)| {
            let (name, pid) = (name.clone(), *pid);
            async move {
                let waiting = tokio::task::spawn_blocking(move || until_stopped(pid));
                let waited = match tokio::time::timeout(PATIENCE, waiting).await {
                    Ok(waited) => waited.map_err(|_| FreezeError::Interrupted)?,
                    Err(_) => Err(rustix::io::Errno::TIMEDOUT),
                };
                waited.map_err(|errno| FreezeError::Halt {
                    name,
                    pid,
                    source: errno.into(),
                })
            }
        });
        futures::future::try_join_all(waiting).await?;
        Ok(halted)
    }

    /// How long already.
    pub(super) fn time(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        go_on(&self.reaper, &self.pids);
    }
}

/// Lets components go on.
pub(super) fn go_on(reaper: &Reaper, pids: &[i32]) {
    for pid in pids {
        reaper.signal(*pid, Signal::CONT, Whom::Group);
    }
}

/// Waits until the last thread of a child has stopped, which is when the kernel tells (waitid(2), `WSTOPPED`). A child
/// that ended is reaped by the reaper, and then there is none: `ECHILD`.
fn until_stopped(pid: i32) -> rustix::io::Result<()> {
    let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED)?;
    Ok(())
}
