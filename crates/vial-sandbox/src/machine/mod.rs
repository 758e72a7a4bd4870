//! The maker `machine`: a sandbox is one virtual machine of QEMU, run by whoever asks for it; no right is needed.
//!
//! ```text
//!  host                                              machine
//!  ────                                              ───────
//!  keeper ─┬─ starts ─► vial-hold ─ exec ─► QEMU ═══ first process, containers, networks
//!          └─ starts ─► vial-link ══ link.sock ═════ the same
//!               ▲
//!  init.sock ───┤ RUN of the cluster
//!  dial.sock ───┘
//! ```
//! # States
//! ```text
//! nothing ── make ──► alive: machine.pid names QEMU ── its end, for whatever reason ──► swept
//! ```
//! The pid file is written by the very process that becomes QEMU, so no machine lives that nobody can find. With QEMU ends
//! all that is inside, and the link. A link that was killed is started again by whoever needs it next.
//!
//! # On failure
//! `make` ends what it started and sweeps; its error carries what QEMU or the guest's console said last.

mod arguments;
mod hold;
mod link;
mod make;
mod outside;
mod sandbox;
mod sweep;

use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::errors::{error, failed};
use crate::{Maker, Sandbox, SandboxError, SandboxSpec, pid_file};
use sandbox::MachineSandbox;

pub use hold::main as hold;

/// Below the cluster's directory: what the machine starts from.
pub const FILES: &str = "machine";
/// Below the run directory: the identity of QEMU, as JSON.
const PID_FILE: &str = "machine.pid";
/// What QEMU says.
const LOG: &str = "qemu.log";
/// What the guest says.
const CONSOLE: &str = "console.log";

/// Makes sandboxes that are virtual machines.
#[derive(Debug, Clone, Copy, Default)]
pub struct MachineMaker;

impl Maker for MachineMaker {
    fn make<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, SandboxError>> {
        let owned = spec.clone();
        // To its end also when the caller is cancelled: half a sandbox is never left.
        let work = tokio::spawn(async move {
            let process = make::make(&owned)
                .await
                .map_err(|source| error("cannot make the sandbox", &owned.name, source))?;
            Ok(Box::new(MachineSandbox::new(owned, process)) as Box<dyn Sandbox>)
        });
        async move {
            let joined = work.await.map_err(io::Error::other);
            joined.map_err(|cause| error("cannot make the sandbox", &spec.name, cause))?
        }
        .boxed()
    }

    fn find<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Sandbox>>, SandboxError>> {
        async move {
            let found = pid_file::find(&spec.run_dir, PID_FILE)
                .map_err(|cause| failed("cannot find the sandbox", &spec.name, cause))?;
            Ok(found.map(|found| {
                Box::new(MachineSandbox::new(spec.clone(), found)) as Box<dyn Sandbox>
            }))
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<(), SandboxError>> {
        sweep::sweep(spec.name.clone(), spec.run_dir.clone()).boxed()
    }
}
