//! A node that begins anew: its disk and its object go, and the next bring-up makes both again.

use vial_sandbox::Sandbox;

use super::remove;
use super::stop::{Stop, stop};
use crate::plan::NodePlan;
use crate::progress::{Reporter, step};
use crate::{Result, kube_api};

/// Ends a node and removes its disk.
///
/// # Errors
/// When the node cannot be stopped, the API does not answer, or the disk cannot be removed.
pub async fn reset(
    client: &kube::Client,
    sandbox: &dyn Sandbox,
    node: &NodePlan,
    report: &Reporter,
) -> Result<()> {
    let name = &node.config.name;
    stop(sandbox, std::iter::once(node), Stop::AtOnce, report).await?;
    let title = format!("remove the disk of {name}");
    step(report, Some(name), "reset", title, async {
        kube_api::delete_node(client, name).await?;
        remove::disk(sandbox, name).await
    })
    .await
}
