//! A cluster that goes on from a frozen machine: all of it runs already, and only what is its own must be told.
//!
//! ```text
//! the machine goes on ──► each container: files (the registry's port of the host), components as planned ──► API answers
//! ```
//! Nothing is waited for that was ready when it was frozen: it still is.

use futures::future::try_join_all;
use vial_sandbox::Sandbox;

use super::Prepared;
use super::container::Container;
use crate::plan::{ContainerPlan, Stage};
use crate::progress::{Reporter, step};
use crate::{Error, Result, kube_api};

/// Tells the containers what differs from the cluster that was frozen, and waits until the API answers.
///
/// # Errors
/// The first thing that failed; what goes on stays.
pub async fn go_on(
    prepared: &Prepared,
    sandbox: &dyn Sandbox,
    client: &kube::Client,
    report: &Reporter,
) -> Result<()> {
    let nodes = prepared.plan.running().flat_map(|node| &node.containers);
    let containers = nodes.chain([&prepared.plan.registry]);
    let told = containers.map(|plan| tell(prepared, sandbox, plan));
    let text = "tell the nodes what is new";
    let told = step(report, None, "tell", text, try_join_all(told));
    let answers = async {
        kube_api::wait_serving(client).await;
        Ok::<_, Error>(())
    };
    let answers = step(report, None, "api", "wait for the API", answers);
    tokio::try_join!(told, answers).map(|_| ())
}

async fn tell(prepared: &Prepared, sandbox: &dyn Sandbox, plan: &ContainerPlan) -> Result<()> {
    let container = Container::start(sandbox, &prepared.pki, plan).await?;
    for stage in [Stage::Boot, Stage::Registered, Stage::Joined] {
        container.apply(stage).await?;
    }
    Ok(())
}
