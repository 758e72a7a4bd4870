//! Finding the agent of a node: which container, which socket, and good words when there is none.

use vial_keeper::api::ClusterStatus;
use vial_rpc::agent_client::AgentClient;
use vial_rpc::{Channel, Status};

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::near;

/// One of a node's process containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Container {
    /// containerd, kubelet, kube-proxy, sshd and pods.
    Node,
    /// etcd, API server, controller manager, scheduler.
    ControlPlane,
}

impl Container {
    /// Its name in the sandbox: `w-1.node`.
    pub(crate) fn name_on(self, node: &str) -> String {
        match self {
            Self::Node => format!("{node}.node"),
            Self::ControlPlane => format!("{node}.control-plane"),
        }
    }
}

/// The status of a cluster that has the node `node`.
///
/// # Errors
/// When there is no such cluster or node; near names are told.
pub(crate) async fn node_status(
    context: &Context,
    cluster: &str,
    node: &str,
) -> Result<ClusterStatus> {
    let client = context.keeper(cluster).await?;
    let status = context.status(cluster, &client).await?;
    let names: Vec<&str> = status.nodes.iter().map(|node| node.name.as_str()).collect();
    if names.contains(&node) {
        return Ok(status);
    }
    Err(Error::new(
        Code::NotFound,
        format!("cluster `{cluster}` has no node `{node}`"),
    )
    .hint(near::hint("node", node, names.iter().copied())))
}

/// Connects to the agent of a container.
///
/// # Errors
/// When nobody answers there: the cluster is stopped, or the container is.
pub(crate) async fn connect(
    context: &Context,
    cluster: &str,
    node: &str,
    container: Container,
) -> Result<AgentClient<Channel>> {
    let run = context.paths.run_dir(cluster);
    match vial_sandbox::agent(&run, &container.name_on(node)).await {
        Ok(channel) => Ok(AgentClient::new(channel)),
        Err(_) if context.record(cluster)?.stopped.contains(node) => Err(stopped(cluster, node)),
        Err(error) => Err(Error::caused(
            format!("node `{node}` of cluster `{cluster}` does not answer"),
            error,
        )
        .hint(format!(
            "`vial status {cluster}` shows its state; `vial up {cluster}` starts what is not there"
        ))),
    }
}

/// Nothing of a node runs, as somebody wanted it.
pub(crate) fn stopped(cluster: &str, node: &str) -> Error {
    let what = format!("node `{node}` of cluster `{cluster}` is stopped");
    Error::new(Code::Failed, what).hint(format!("`vial node start {node} -c {cluster}` starts it"))
}

/// An agent refused.
pub(crate) fn refused(what: String, status: &Status) -> Error {
    let code = match status.code() {
        vial_rpc::Code::NotFound => Code::NotFound,
        vial_rpc::Code::InvalidArgument => Code::BadInput,
        vial_rpc::Code::PermissionDenied => Code::NotPermitted,
        vial_rpc::Code::DeadlineExceeded => Code::TimedOut,
        vial_rpc::Code::ResourceExhausted => Code::NoSpace,
        _ => Code::Failed,
    };
    let error = Error::new(code, format!("{what}: {}", status.message()));
    match status.message().contains("No space left on device") {
        true => error.hint(
            "free some space there (`vial exec NODE -- df -h` shows which disk is full), then do the same again",
        ),
        false => error,
    }
}
