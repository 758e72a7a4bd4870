//! Both makers: a new sandbox is what its specification says, a living one what lies in its run directory.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::{MachineMaker, Maker, NamespaceMaker, Sandbox, SandboxError, SandboxSpec};

/// Makes and finds sandboxes of every kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyMaker;

impl Maker for AnyMaker {
    fn make<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Sandbox>, SandboxError>> {
        match spec.machine {
            Some(_) => MachineMaker.make(spec),
            None => NamespaceMaker.make(spec),
        }
    }

    fn find<'a>(
        &'a self,
        spec: &'a SandboxSpec,
    ) -> BoxFuture<'a, Result<Option<Box<dyn Sandbox>>, SandboxError>> {
        async move {
            match MachineMaker.find(spec).await? {
                None => NamespaceMaker.find(spec).await,
                found => Ok(found),
            }
        }
        .boxed()
    }

    fn sweep<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<(), SandboxError>> {
        async move {
            MachineMaker.sweep(spec).await?;
            NamespaceMaker.sweep(spec).await
        }
        .boxed()
    }
}
