//! The registry's port of the host on every node's own loopback: what is called `127.0.0.1:PORT` outside is called so
//! inside as well, by any program. containerd does without it: it is told where that name leads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use vial_engine::plan::Plan;
use vial_sandbox::{Network, Sandbox};

use super::forward::{self, Permits};
use crate::failure::chain;

/// How often is looked whether a node answers that is stopped, or still on its way.
const AGAIN: Duration = Duration::from_secs(1);

/// One listener for each node. It keeps the node's network alive, so it goes with the node.
pub(super) struct OnNodes {
    sandbox: Arc<dyn Sandbox>,
    port: u16,
    listeners: BTreeMap<String, AbortOnDropHandle<()>>,
}

impl OnNodes {
    pub(super) fn new(sandbox: &Arc<dyn Sandbox>, port: u16) -> Self {
        Self {
            sandbox: Arc::clone(sandbox),
            port,
            listeners: BTreeMap::new(),
        }
    }

    /// Listens on the nodes of this plan and on no other.
    pub(super) fn follow(&mut self, plan: &Plan) {
        let Some(target) = plan.registry_target() else {
            return;
        };
        let nodes: BTreeSet<_> = plan
            .nodes
            .iter()
            .map(|node| node.config.name.as_str())
            .collect();
        self.listeners
            .retain(|node, _| nodes.contains(node.as_str()));
        for node in nodes {
            if !self.listeners.contains_key(node) {
                let serving = serve(
                    Arc::clone(&self.sandbox),
                    node.to_owned(),
                    self.port,
                    target,
                );
                let task = AbortOnDropHandle::new(tokio::spawn(serving));
                self.listeners.insert(node.to_owned(), task);
            }
        }
    }
}

async fn serve(sandbox: Arc<dyn Sandbox>, node: String, port: u16, target: SocketAddr) {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    // The network may be there before the node; which one is the node's is known when it answers.
    while let Err(error) = sandbox.agent(&format!("{node}.node")).await {
        tracing::debug!(error = %chain(&error), node, "no registry on the node's loopback yet");
        tokio::time::sleep(AGAIN).await;
    }
    match sandbox.listen(Network::Node(&node), address).await {
        Ok(listener) => {
            let dial = forward::direct(sandbox, target);
            forward::serve(listener, Permits::of_a_port(), Arc::default(), dial).await;
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), node, "no registry on the node's loopback");
        }
    }
}
