//! Templates: frozen clusters, from which any number of new ones go on.
//!
//! ```text
//! a cluster ── freeze ──► templates/.NAME.new-…   ── rename ──► templates/NAME ── thaw ──► new clusters
//!                          held by who makes it                    │
//!                          a cut leaves it; the next               └─ remove: refused while a cluster of it is there
//!                          freeze removes it
//! ```
//! # On disk
//! ```text
//! templates/NAME/template.json    what it is, and what it needs to go on (Template)
//!                cluster/         what is in the directory of each new cluster: keys, disks, loaded images
//!                frozen/          the processes
//! ```
//! The directory is its owner's alone: there are keys in it, and the memory of every process.

mod ground;
pub mod pristine;
mod store;

pub use ground::{Ground, Unfit};
pub use store::{Making, TemplateError, Templates};

use serde::{Deserialize, Serialize};
use vial_spec::ClusterSpec;

/// What is known of a frozen cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// Its name.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// The cluster that was frozen, and which one of that name.
    pub cluster: String,
    /// See [`Record::uid`](crate::record::Record::uid).
    pub cluster_uid: String,
    /// Who made it, and what for.
    pub made: Made,
    /// What the cluster was to be when it was frozen.
    pub spec: ClusterSpec,
    /// Digest of its node image.
    pub image_digest: String,
    /// `v1.36.3`.
    pub kubernetes: String,
    /// Nodes that were stopped.
    #[serde(default)]
    pub stopped: std::collections::BTreeSet<String>,
    /// Where it was frozen: it goes on there only.
    pub ground: Ground,
}

/// Who made a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "camelCase")]
pub enum Made {
    /// Somebody asked for it.
    Person,
    /// vial, of a cluster just after it came up: what comes up later in the same shape need not start.
    Pristine {
        /// Of the shape.
        shape: String,
    },
}
