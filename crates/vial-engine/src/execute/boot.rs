//! Nodes as far as they come without Kubernetes.

use futures::future::try_join_all;
use vial_sandbox::Sandbox;

use super::Prepared;
use super::container::Container;
use crate::Result;
use crate::plan::Stage;

/// Starts all containers of the plan and what may start with them, and waits until that is ready: what a cluster made by
/// other means than vial's begins with.
///
/// # Errors
/// The first container that cannot be made, or component that is not ready in time.
pub async fn boot(prepared: &Prepared, sandbox: &dyn Sandbox) -> Result<()> {
    let containers = prepared.plan.nodes.iter().flat_map(|node| &node.containers);
    let starting = containers.map(|plan| async move {
        let container = Container::start(sandbox, &prepared.pki, plan).await?;
        container.apply(Stage::Boot).await?;
        let components = plan.components.iter();
        let booted = components.filter(|component| component.stage == Stage::Boot);
        try_join_all(booted.map(|component| container.ready(&component.spec.name))).await
    });
    try_join_all(starting).await.map(drop)
}
