//! Nodes that are not wanted any more: their objects, their containers, their disks, their keys.
//!
//! Which these are is seen from what there is, not from what was planned before: a removal that was cut off is found
//! again. A node's disk goes last but for its keys.

use std::collections::BTreeSet;
use std::fs;

use vial_rpc::init_client::InitClient;
use vial_rpc::{ListContainersRequest, RemoveDirectoryRequest, StopContainerRequest};
use vial_sandbox::{Sandbox, inside};

use crate::paths::Paths;
use crate::plan::{Plan, REGISTRY};
use crate::progress::{Reporter, step};
use crate::{Error, Result, kube_api, pki};

/// Names of nodes that have a container or a disk and are not in the plan.
pub(super) async fn unwanted(
    paths: &Paths,
    plan: &Plan,
    sandbox: &dyn Sandbox,
) -> Result<BTreeSet<String>> {
    let mut init = InitClient::new(sandbox.init().await?);
    let listed = init.list_containers(ListContainersRequest {}).await;
    let listed = listed.map_err(Error::rpc("cannot list the containers"))?;
    let with_container = listed.into_inner().containers.into_iter();
    let mut names: BTreeSet<String> = with_container.map(|status| status.node).collect();
    let disks = paths.cluster_dir(&plan.spec.name).join("nodes");
    for entry in fs::read_dir(&disks).map_err(Error::file("read", &disks))? {
        let entry = entry.map_err(Error::file("read", &disks))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.retain(|name| name != REGISTRY && plan.node(name).is_none());
    Ok(names)
}

/// Removes a node. The network lost its link already.
pub(super) async fn node(
    paths: &Paths,
    cluster: &str,
    client: &kube::Client,
    sandbox: &dyn Sandbox,
    name: &str,
    report: &Reporter,
) -> Result<()> {
    let title = format!("remove node {name}");
    step(report, Some(name), "remove", title, async {
        kube_api::delete_node(client, name).await?;
        let mut init = InitClient::new(sandbox.init().await?);
        let listed = init.list_containers(ListContainersRequest {}).await;
        let listed = listed.map_err(Error::rpc("cannot list the containers"))?;
        for container in listed.into_inner().containers {
            if container.node == name {
                let what = format!("cannot stop container {}", container.name);
                let request = StopContainerRequest {
                    name: container.name,
                    grace_ms: 2_000,
                };
                let stopped = init.stop_container(request).await;
                stopped.map_err(Error::rpc(what))?;
            }
        }
        let dir = paths.cluster_dir(cluster);
        disk(sandbox, name).await?;
        pki::forget_node(&dir.join("pki"), name)
    })
    .await
}

/// Removes a node's disk, which nobody uses any more: as a whole, or after a cut again.
pub(super) async fn disk(sandbox: &dyn Sandbox, node: &str) -> Result<()> {
    let mut init = InitClient::new(sandbox.init().await?);
    let path = format!("{}/nodes/{node}", inside::CLUSTER);
    let removed = init.remove_directory(RemoveDirectoryRequest { path }).await;
    let what = format!("cannot remove the disk of {node}");
    removed.map(drop).map_err(Error::rpc(what))
}
