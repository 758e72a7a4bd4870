//! The maker `namespace`: a sandbox is a process tree in namespaces of its own; root is needed.
//!
//! # States
//! ```text
//! nothing ── make ──► alive: init.pid names the first process ── its end, for whatever reason ──► swept
//! ```
//! What is left behind when the first process ends, and only that: the cgroup's directories and the pid file. Whoever
//! sees the end first sweeps ([`Sandbox::end`](crate::Sandbox::end), the keeper, or the next command).
//!
//! # On failure
//! [`make`](crate::Maker::make) ends what it started and sweeps. When its caller is killed in the middle, the sandbox
//! either can be found by its pid file or ends by itself at the gate (see `vial_node::init`).

mod make;
mod outside;
mod pasta;
mod sandbox;
mod sweep;

use std::io;

use futures::FutureExt;
use futures::future::BoxFuture;
use vial_node::init::{InitSpec, PID_FILE};

use crate::errors::{error, failed};
use crate::{Maker, Sandbox, SandboxError, SandboxSpec, pid_file};
use sandbox::NamespaceSandbox;

/// Makes sandboxes of namespaces.
#[derive(Debug, Clone, Copy, Default)]
pub struct NamespaceMaker;

impl Maker for NamespaceMaker {
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
            Ok(Box::new(NamespaceSandbox::new(owned, process)) as Box<dyn Sandbox>)
        });
        async move {
            work.await.unwrap_or_else(|join| {
                Err(error(
                    "cannot make the sandbox",
                    &spec.name,
                    io::Error::other(join),
                ))
            })
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
            Ok(found.map(|(identity, process)| {
                Box::new(NamespaceSandbox::new(spec.clone(), (identity, process)))
                    as Box<dyn Sandbox>
            }))
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<(), SandboxError>> {
        sweep::sweep(spec.name.clone(), spec.run_dir.clone()).boxed()
    }
}

/// The spec that the first process gets.
fn init_spec(spec: &SandboxSpec) -> InitSpec {
    InitSpec {
        name: spec.name.clone(),
        images_dir: spec.images_dir.clone(),
        cluster_dir: spec.cluster_dir.clone(),
        run_dir: spec.run_dir.clone(),
        program: spec.program.clone(),
        mounts: spec.mounts.clone(),
    }
}
