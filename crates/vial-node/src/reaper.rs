//! Takes every ended child, orphans included, as a PID 1 must, and tells those who asked how theirs ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use vial_sys::{During, SysError, process};

/// The one who waits for children in this process; nobody else may.
#[derive(Clone, Default)]
pub(crate) struct Reaper {
    asked: Arc<Mutex<HashMap<i32, oneshot::Sender<i32>>>>,
}

impl Reaper {
    /// Starts it, in the present runtime.
    pub(crate) fn start() -> Result<Self, SysError> {
        let reaper = Self::default();
        let children = signal(SignalKind::child()).during(|| "listen to SIGCHLD".to_owned())?;
        tokio::spawn(reaper.clone().run(children));
        Ok(reaper)
    }

    async fn run(self, mut children: Signal) {
        loop {
            // Before the first signal as well: a child may have ended before this task first ran.
            self.reap();
            if children.recv().await.is_none() {
                return;
            }
        }
    }

    fn reap(&self) {
        loop {
            match process::reap() {
                Ok(Some(ended)) => {
                    let asked = self
                        .asked
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&ended.pid);
                    if let Some(sender) = asked {
                        // Whoever asked may have lost interest.
                        let _ = sender.send(ended.code);
                    }
                }
                Ok(None) => return,
                Err(error) => return tracing::error!("{}", error.line()),
            }
        }
    }

    /// The exit code of a child (or of an orphan that will be one), 128 + signal when killed. It must not have been
    /// taken yet: ask before it can end.
    pub(crate) fn exit_of(&self, pid: i32) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pid, sender);
        receiver
    }
}
