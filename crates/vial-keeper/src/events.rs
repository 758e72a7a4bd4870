//! What happened to a cluster, its nodes and its components, with times: the story that `vial events` tells.
//!
//! ```text
//! operations, watch, agents, nodes ──tell──► Book ──append──► clusters/NAME/events.ndjson ──► Reader (any process)
//!                                                               full: renamed to events.1.ndjson, over the one before
//! ```
//! The keeper alone writes, one line an event; the files are bounded and belong to the cluster: they outlive keepers and
//! sandboxes, and end with the cluster. Whoever reads needs no keeper, so a stopped cluster has its story too.
//!
//! What happened while there was no keeper is told by the next one where its traces have a time: the states of components
//! and of nodes. Each is told once, since its time is in the book.

pub(crate) mod agents;
mod book;
pub(crate) mod nodes;
mod reader;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use book::{About, Book};
pub use reader::Reader;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// Grows from event to event of a cluster.
    pub id: u64,
    /// RFC 3339, in UTC. Not always in the order of `id`: some things are seen later than they happen.
    pub time: String,
    /// What kind of thing it is.
    pub kind: What,
    /// Is it good to know, or bad news?
    pub severity: Severity,
    /// On which node, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Of which component, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// One line for people.
    pub message: String,
}

/// How much a person has to care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Something failed, or ended by itself.
    Warning,
}

/// The kinds of things that happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// An `up` began: a person's, or the keeper's own to bring back what fell.
    UpStarted,
    /// It ended well.
    UpFinished,
    /// It failed, or gave way to another operation.
    UpFailed,
    /// A `down` began. Its end takes the story with it.
    DownStarted,
    /// A `down` failed.
    DownFailed,
    /// Something of the specification changed: nodes, components, manifests.
    Changed,
    /// A new keeper serves a cluster that lived on without one.
    KeeperStarted,
    /// A new keeper cannot serve the cluster.
    KeeperFailed,
    /// The sandbox was made.
    SandboxStarted,
    /// The sandbox ended by itself.
    SandboxEnded,
    /// All that runs was frozen to a template; the cluster went on, or was stopped.
    Frozen,
    /// It could not be frozen, and went on.
    FreezeFailed,
    /// The cluster was stopped by command, its processes are on disk.
    Stopped,
    /// All that runs was halted by command.
    Paused,
    /// It went on by command.
    Resumed,
    /// A container of a node ended by itself.
    ContainerEnded,
    /// The virtual machine that a node is ended by itself.
    MachineEnded,
    /// The node's condition Ready became True.
    NodeReady,
    /// The node's condition Ready became False or Unknown.
    NodeNotReady,
    /// A component got ready.
    ComponentReady,
    /// A component ended by itself, or could not start.
    ComponentCrashed,
    /// A component was stopped.
    ComponentStopped,
    /// The way outside ended by itself.
    OutboundEnded,
    /// The way outside cannot be opened, or closed.
    OutboundFailed,
    /// A pod that was made for a time is about to be removed.
    PodExpires,
    /// Its time was over, and it was removed.
    PodExpired,
    /// A kind that a newer vial wrote.
    #[serde(other)]
    Other,
}

impl std::fmt::Display for What {
    /// As in JSON: `component-ready`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(formatter)
    }
}

impl What {
    fn severity(self) -> Severity {
        match self {
            Self::UpFailed
            | Self::DownFailed
            | Self::KeeperFailed
            | Self::SandboxEnded
            | Self::FreezeFailed
            | Self::ContainerEnded
            | Self::MachineEnded
            | Self::NodeNotReady
            | Self::ComponentCrashed
            | Self::OutboundEnded
            | Self::OutboundFailed
            | Self::PodExpires => Severity::Warning,
            _ => Severity::Normal,
        }
    }

    /// Is it the state of something that another process dates, so that it may be seen again?
    fn is_state(self) -> bool {
        matches!(
            self,
            Self::NodeReady
                | Self::NodeNotReady
                | Self::ComponentReady
                | Self::ComponentCrashed
                | Self::ComponentStopped
        )
    }
}

/// The file that grows, and the one before it.
fn files(cluster_dir: &Path) -> [PathBuf; 2] {
    ["events.ndjson", "events.1.ndjson"].map(|name| cluster_dir.join(name))
}

/// The events of whole lines. What no vial can have written is left out.
fn parse(text: &[u8]) -> impl Iterator<Item = Happening> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| line.ends_with(b"\n"))
        .filter_map(|line| serde_json::from_slice(line).ok())
}
