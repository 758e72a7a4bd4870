//! The way out of a sandbox: pasta(1) between an interface inside and sockets of the host.
//!
//! ```text
//! pods, nodes ──► bridge 10.89.0.1 ──► `outside` (tap) ──► pasta ──► sockets of the host's network
//! ```
//! # States
//! ```text
//! none ── spawn ──► its first process ends when the interface is there ──► carrying ──► ended: killed, or with the sandbox
//! ```
//! pasta is a process of the sandbox's pid namespace and of the host's network and mounts, so the kernel ends it with the
//! sandbox and it does not need a keeper: the next one finds it by the pid file that pasta writes. As soon as it carries,
//! it is the first process's child, in empty namespaces of its own, without new privileges and under a seccomp filter.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;
use vial_sys::identity::Process;
use vial_sys::{During, SysError};

use super::pasta::{self, Carrier};
use crate::Outside;
use crate::ended::ended;

/// The way out of one sandbox.
#[derive(Clone)]
pub(super) struct Way {
    /// Of the cluster, on the host.
    run_dir: PathBuf,
    /// The sandbox's first process.
    first: (u32, Arc<Process>),
    /// Held while it is opened or closed.
    turn: Arc<Mutex<()>>,
}

impl Way {
    pub(super) fn new(run_dir: PathBuf, first: (u32, Arc<Process>)) -> Self {
        let turn = Arc::default();
        Self {
            run_dir,
            first,
            turn,
        }
    }

    /// The process that carries: the one that does so already, or a new one.
    pub(super) async fn open(&self, wanted: Outside) -> Result<Process, SysError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let way = self.clone();
        // To its end also when the caller is cancelled: whoever closes it afterwards must find what was started.
        let opened = tokio::spawn(async move {
            let _turn = turn;
            if let Some(carrier) = way.carrier().await? {
                if carrier.families.covers(wanted.families) {
                    return Ok(carrier.process);
                }
                end(&carrier.process).await?;
            }
            let (run_dir, first) = (way.run_dir.clone(), way.first.clone());
            // A thread that ends: its children are the sandbox's from then on.
            in_thread(move || pasta::start(&run_dir, &first, &wanted)).await?;
            let carrier = way.carrier().await?;
            let carrier = carrier.ok_or_else(|| SysError::other("start pasta", "it ended at once"));
            Ok(carrier?.process)
        });
        opened
            .await
            .map_err(io::Error::other)
            .during(|| "start pasta".to_owned())?
    }

    /// Ends the process that carries, if there is one.
    pub(super) async fn close(&self) -> Result<(), SysError> {
        let _turn = self.turn.lock().await;
        match self.carrier().await? {
            Some(carrier) => end(&carrier.process).await,
            None => Ok(()),
        }
    }

    async fn carrier(&self) -> Result<Option<Carrier>, SysError> {
        let (run_dir, first) = (self.run_dir.clone(), self.first.0);
        in_thread(move || pasta::find(&run_dir, first)).await
    }
}

/// Ends a process and waits until it is gone.
async fn end(process: &Process) -> Result<(), SysError> {
    process.kill()?;
    ended(process).await.during(|| "wait for pasta".to_owned())
}

async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SysError> + Send + 'static,
) -> Result<T, SysError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("vial-outside".to_owned())
        // Nobody listens any more: the caller was cancelled.
        .spawn(move || drop(sender.send(work())))
        .during(|| "start a thread".to_owned())?;
    receiver
        .await
        .map_err(io::Error::other)
        .during(|| "wait for a thread".to_owned())?
}
