//! The way out of a machine: passt(1) between its interface `outside` and sockets of the host.
//!
//! ```text
//! pods, nodes ──► bridge 10.89.0.1 ──► `outside` (virtio-net) ──► QEMU ══ outside.sock ══ passt ──► sockets of the host
//! ```
//! QEMU asks for the socket every second; while nobody serves it the interface has no carrier, and its routes are none.
//! passt ends with its one connection, and so with QEMU. It puts itself into namespaces of its own, for which the host must
//! let users have user namespaces.
//!
//! # Invariants
//! Nothing is let in: no port is forwarded, and no address stands for the host's loopback ones.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;
use tokio::sync::Mutex;
use vial_sys::identity::{Identity, Process};

use crate::ended::ended;
use crate::errors::to_io;
use crate::outside::{program, seal};
use crate::{Families, Outside, pid_file};

/// Below the run directory.
pub(super) const SOCKET: &str = "outside.sock";
pub(super) const PID_FILE: &str = "outside.pid";
pub(super) const LOG: &str = "outside.log";

/// The way out of one machine.
#[derive(Clone)]
pub(super) struct Way {
    run_dir: PathBuf,
    /// Held while it is opened or closed.
    turn: Arc<Mutex<()>>,
}

impl Way {
    pub(super) fn new(run_dir: PathBuf) -> Self {
        let turn = Arc::default();
        Self { run_dir, turn }
    }

    /// The process that carries: the one that does so already, or a new one. Families are those of its start.
    pub(super) async fn open(&self, wanted: &Outside) -> io::Result<Process> {
        let _turn = self.turn.lock().await;
        if let Some((_, process)) = self.carrier()? {
            return Ok(process);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.run_dir.join(LOG))?;
        let _ = fs::remove_file(self.run_dir.join(SOCKET));
        let (loader, words) = program(&wanted.root, "passt");
        let started = Command::new(loader)
            .args(words)
            .args(arguments(&self.run_dir, wanted.families))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = started
            .id()
            .ok_or_else(|| io::Error::other("passt ended at once"))?;
        let identity = Identity::of(pid).map_err(to_io)?;
        pid_file::write(&self.run_dir.join(PID_FILE), &identity).map_err(to_io)?;
        let found = identity.open().map_err(to_io)?;
        found.ok_or_else(|| io::Error::other("passt ended at once"))
    }

    /// Ends the process that carries, if there is one.
    pub(super) async fn close(&self) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        match self.carrier()? {
            Some((_, process)) => {
                process.kill().map_err(to_io)?;
                ended(&process).await
            }
            None => Ok(()),
        }
    }

    fn carrier(&self) -> io::Result<Option<(Identity, Process)>> {
        pid_file::find(&self.run_dir, PID_FILE).map_err(to_io)
    }

    /// Why it ended, in its own words.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(self.run_dir.join(LOG)).unwrap_or_default();
        let said = log.trim().lines().last().unwrap_or("it said nothing");
        said.to_owned()
    }
}

fn arguments(run_dir: &Path, families: Families) -> Vec<String> {
    let socket = run_dir.join(SOCKET).to_string_lossy().into_owned();
    let mut all: Vec<String> = vec!["--socket".into(), socket];
    all.extend(["--foreground", "--quiet", "--one-off"].map(ToOwned::to_owned));
    if rustix::process::geteuid().is_root() {
        // Only root has somebody to become.
        all.extend(["--runas", "0"].map(ToOwned::to_owned));
    }
    seal(&mut all, families);
    all
}
