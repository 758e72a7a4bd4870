//! What a new specification changes of a living cluster; pure.

use vial_spec::Outbound;

use super::containers::mount_base;
use super::{NodePlan, Plan};
use crate::progress::Progress;
use crate::{Error, Result};

/// One difference between two plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node is wanted that was not.
    AddNode(String),
    /// A node is not wanted any more.
    RemoveNode(String),
    /// A component's flags, environment or files changed: it will be restarted.
    Component {
        /// On which node.
        node: String,
        /// Which.
        component: String,
    },
    /// Labels or taints of a node.
    NodeObject(String),
    /// Manifests.
    Manifests,
    /// Whether there is a way out.
    Outbound(Outbound),
}

impl Change {
    /// To be told when it is made so.
    pub(crate) fn note(&self) -> Progress {
        let (node, component) = match self {
            Self::AddNode(node) | Self::RemoveNode(node) | Self::NodeObject(node) => {
                (Some(node.clone()), None)
            }
            Self::Component { node, component } => (Some(node.clone()), Some(component.clone())),
            Self::Manifests | Self::Outbound(_) => (None, None),
        };
        Progress::Note {
            text: self.to_string(),
            node,
            component,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddNode(node) => write!(formatter, "node {node} is added"),
            Self::RemoveNode(node) => write!(formatter, "node {node} is removed"),
            Self::Component { node, component } => write!(
                formatter,
                "{component} on {node} is restarted: its configuration changed"
            ),
            Self::NodeObject(node) => write!(formatter, "labels or taints of node {node} change"),
            Self::Outbound(Outbound::Auto) => {
                formatter.write_str("nodes and pods reach what the host reaches")
            }
            Self::Outbound(Outbound::None) => {
                formatter.write_str("nodes and pods reach nothing outside of the cluster any more")
            }
            Self::Manifests => write!(formatter, "manifests are applied again: they changed"),
        }
    }
}

/// Compares two plans of one cluster.
///
/// # Errors
/// When something differs that a living cluster cannot take: addresses, the node image, mounts of a node.
pub fn changes(old: &Plan, new: &Plan) -> Result<Vec<Change>> {
    refuse_unchangeable(old, new)?;
    let mut changes = Vec::new();
    for node in &new.nodes {
        match old.node(&node.config.name) {
            None => changes.push(Change::AddNode(node.config.name.clone())),
            // It is made as it is wanted when it is started.
            Some(_) if new.stopped.contains(&node.config.name) => {}
            Some(before) => changes.extend(node_changes(before, node)),
        }
    }
    let gone = old
        .nodes
        .iter()
        .filter(|node| new.node(&node.config.name).is_none());
    changes.extend(gone.map(|node| Change::RemoveNode(node.config.name.clone())));
    if old.spec.manifests != new.spec.manifests {
        changes.push(Change::Manifests);
    }
    if old.spec.outbound != new.spec.outbound {
        changes.push(Change::Outbound(new.spec.outbound));
    }
    Ok(changes)
}

fn refuse_unchangeable(old: &Plan, new: &Plan) -> Result<()> {
    let refuse = |what: String| {
        Err(Error::Unchangeable {
            cluster: new.spec.name.clone(),
            what,
        })
    };
    let (before, after) = (&old.spec, &new.spec);
    if before.node_image != after.node_image {
        return refuse(format!(
            "the node image ({} to {})",
            before.node_image, after.node_image
        ));
    }
    if before.network != after.network {
        return refuse("the network (ipFamily, CIDRs, cni, dns)".into());
    }
    if before.sandbox != after.sandbox {
        return refuse("the sandbox (maker, cpus, memory, disk)".into());
    }
    for node in &new.nodes {
        let name = &node.config.name;
        let before = old.node(name).map(|before| &before.config);
        if before.is_some_and(|before| before.machine != node.config.machine) {
            return refuse(format!("how node {name} is made (driver, vm)"));
        }
        if old
            .node(name)
            .is_some_and(|before| before.config.mounts != node.config.mounts)
        {
            return refuse(format!("mounts of node {name}"));
        }
        if old.node(name).is_none() && node.config.host_paths().next().is_some() {
            return refuse(format!(
                "what the new node {name} has of the host (mounts, files as disks)"
            ));
        }
        // They are numbered over all nodes, in the order of the nodes that there were when the sandbox was made.
        let moved = old.node(name).is_some_and(|before| {
            let first = |plan: &Plan, node| mount_base(&plan.spec, node);
            node.config.host_paths().next().is_some()
                && first(old, &before.config) != first(new, &node.config)
        });
        if moved {
            return refuse(format!(
                "a node with mounts before node {name}, which has some too,"
            ));
        }
    }
    Ok(())
}

fn node_changes(old: &NodePlan, new: &NodePlan) -> Vec<Change> {
    let node = &new.config.name;
    let mut changes = Vec::new();
    for container in &new.containers {
        let Some(before) = old
            .containers
            .iter()
            .find(|other| other.spec.name == container.spec.name)
        else {
            continue;
        };
        for component in &container.components {
            let name = &component.spec.name;
            let same = before
                .components
                .iter()
                .find(|other| other.spec.name == *name)
                .is_some_and(|other| {
                    let reads = |path: &String| {
                        let of = |files: &[super::FilePlan]| {
                            files.iter().find(|file| file.path == *path).cloned()
                        };
                        of(&before.files) == of(&container.files)
                    };
                    other == component && component.reads.iter().all(reads)
                });
            if !same {
                changes.push(Change::Component {
                    node: node.clone(),
                    component: name.clone(),
                });
            }
        }
    }
    if old.config.labels != new.config.labels || old.config.taints != new.config.taints {
        changes.push(Change::NodeObject(node.clone()));
    }
    changes
}
