//! A node that begins anew: its disk and its object go, and the next bring-up makes both again.

use std::fs;

use vial_sandbox::Sandbox;

use super::down::remove_tree;
use super::stop::{Stop, stop};
use crate::paths::Paths;
use crate::plan::NodePlan;
use crate::progress::{Reporter, step};
use crate::{Error, Result, kube_api};

/// Ends a node and removes its disk.
///
/// The disk is renamed first, so that no half of one is ever started from; a cut leaves what [`super::remove`] finds.
///
/// # Errors
/// When the node cannot be stopped, the API does not answer, or the disk cannot be removed.
pub async fn reset(
    paths: &Paths,
    cluster: &str,
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
        let disk = paths.cluster_dir(cluster).join("nodes").join(name);
        let aside = disk.with_extension("old");
        remove_tree(&aside)?;
        match fs::rename(&disk, &aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("rename", &disk)(error));
            }
            _ => {}
        }
        tokio::task::spawn_blocking(move || remove_tree(&aside))
            .await
            .unwrap_or(Ok(()))
    })
    .await
}
