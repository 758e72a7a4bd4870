//! A node that is not wanted any more: its object, its containers, its disk, its keys.

use vial_rpc::StopContainerRequest;
use vial_rpc::init_client::InitClient;
use vial_sandbox::Sandbox;

use super::down::remove_tree;
use crate::paths::Paths;
use crate::plan::NodePlan;
use crate::progress::{Reporter, step};
use crate::{Error, Result, kube_api, pki};

/// Removes a node of the former plan. The network lost its link already.
pub(super) async fn node(
    paths: &Paths,
    cluster: &str,
    client: &kube::Client,
    sandbox: &dyn Sandbox,
    before: Option<&NodePlan>,
    report: &Reporter,
) -> Result<()> {
    let Some(node) = before else { return Ok(()) };
    let name = &node.config.name;
    step(
        report,
        Some(name),
        "remove",
        format!("remove node {name}"),
        async {
            kube_api::delete_node(client, name).await?;
            let mut init = InitClient::new(sandbox.init().await?);
            for container in &node.containers {
                let request = StopContainerRequest {
                    name: container.spec.name.clone(),
                    grace_ms: 2_000,
                };
                let what = format!("cannot stop container {}", container.spec.name);
                init.stop_container(request)
                    .await
                    .map_err(Error::rpc(what))?;
            }
            let dir = paths.cluster_dir(cluster);
            remove_tree(&dir.join("nodes").join(name))?;
            pki::forget_node(&dir.join("pki"), name)
        },
    )
    .await
}
