//! Nodes that are stopped: everything of them ends but what lies on their disks, their object and their address.
//!
//! ```text
//! orderly   container: SIGTERM to its agent, which stops the components     machine: the same to the guest's first process,
//!           one after the other                                             which then switches it off
//! at once   the kernel ends all of the container, as a power loss does      the same with QEMU: what was not flushed is lost
//! ```

use std::time::Duration;

use futures::future::try_join_all;
use vial_rpc::container_status::State;
use vial_rpc::init_client::InitClient;
use vial_rpc::{Channel, ListContainersRequest, StopContainerRequest, WatchContainersRequest};
use vial_sandbox::Sandbox;

use crate::plan::{ContainerPlan, NodePlan};
use crate::progress::{Progress, Reporter, step};
use crate::{Error, Result};

/// How long a node may take to end in order.
const GRACE: Duration = Duration::from_secs(60);

/// How a node is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its programs are asked to end.
    Orderly,
    /// The plug is pulled.
    AtOnce,
}

/// Stops nodes, all at once; those of which nothing runs are left alone, and not told.
///
/// # Errors
/// When the first process of the sandbox refuses.
pub async fn stop<'a>(
    sandbox: &dyn Sandbox,
    nodes: impl Iterator<Item = &'a NodePlan>,
    how: Stop,
    report: &Reporter,
) -> Result<()> {
    let mut init = InitClient::new(sandbox.init().await?);
    let known = list(&mut init).await?;
    let nodes = nodes.filter(|node| {
        let mut containers = node.containers.iter();
        containers.any(|container| known.iter().any(|(name, _)| *name == container.spec.name))
    });
    let stopping = nodes.map(|node| {
        let init = init.clone();
        async move {
            let name = node.config.name.as_str();
            let title = match how {
                Stop::Orderly => format!("stop {name}"),
                Stop::AtOnce => format!("pull the plug of {name}"),
            };
            let work = one(sandbox, init, node, how, report);
            step(report, Some(name), "stop", title, work).await
        }
    });
    try_join_all(stopping).await.map(drop)
}

async fn one(
    sandbox: &dyn Sandbox,
    init: InitClient<Channel>,
    node: &NodePlan,
    how: Stop,
    report: &Reporter,
) -> Result<()> {
    if how == Stop::Orderly {
        switch_off(sandbox, init.clone(), node, report).await?;
    }
    let grace = match how {
        Stop::Orderly => GRACE,
        Stop::AtOnce => Duration::ZERO,
    };
    // The guest of a machine ends with the container around it, and is no container of the sandbox.
    let containers = node.containers.iter().filter(|one| one.guest.is_none());
    let ending = containers.map(|container| end(init.clone(), &container.spec.name, grace));
    try_join_all(ending).await.map(drop)
}

async fn end(mut init: InitClient<Channel>, name: &str, grace: Duration) -> Result<()> {
    let request = StopContainerRequest {
        name: name.to_owned(),
        grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
    };
    let stopped = init.stop_container(request).await;
    let what = format!("cannot stop container {name}");
    stopped.map(drop).map_err(Error::rpc(what))
}

/// Where the node is a machine: asks its guest to switch it off, and waits until it has.
async fn switch_off(
    sandbox: &dyn Sandbox,
    mut init: InitClient<Channel>,
    node: &NodePlan,
    report: &Reporter,
) -> Result<()> {
    let guest = |one: &&ContainerPlan| one.guest.is_some();
    let (Some(guest), Some(around)) = (
        node.containers.iter().find(guest),
        node.containers.iter().find(|one| !guest(one)),
    ) else {
        return Ok(());
    };
    let name = &node.config.name;
    let what = || Error::rpc(format!("cannot see the machine of {name} end"));
    // From here on no end is missed.
    let events = init.watch_containers(WatchContainersRequest {}).await;
    let mut events = events.map_err(what())?.into_inner();
    let ask = async {
        let channel = sandbox.agent(&guest.spec.name).await?;
        // It may be gone before it can answer.
        let _ = vial_rpc::exec_collect(channel, ["sh", "-c", "kill -TERM 1"], b"").await;
        Ok::<_, Error>(())
    };
    let ended = async {
        loop {
            let known = list(&mut init).await?;
            let state = known.iter().find(|(name, _)| *name == around.spec.name);
            if !matches!(state, Some((_, State::Running))) {
                return Ok::<_, Error>(());
            }
            events.message().await.map_err(what())?;
        }
    };
    let asked = async {
        ask.await?;
        ended.await
    };
    let why = match tokio::time::timeout(GRACE, asked).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.line(),
        Err(_) => format!("it did not switch itself off within {} s", GRACE.as_secs()),
    };
    report(Progress::note(format!(
        "the plug of {name} is pulled: {why}"
    )));
    end(init, &around.spec.name, Duration::ZERO).await
}

/// All containers that the first process knows, and how they are.
async fn list(init: &mut InitClient<Channel>) -> Result<Vec<(String, State)>> {
    let listed = init.list_containers(ListContainersRequest {}).await;
    let listed = listed.map_err(Error::rpc("cannot list the containers"))?;
    let containers = listed.into_inner().containers.into_iter();
    Ok(containers
        .map(|status| (status.name.clone(), status.state()))
        .collect())
}
