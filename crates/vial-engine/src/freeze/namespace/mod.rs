//! Freezing and thawing clusters whose sandbox is of namespaces.
//!
//! What is frozen is the control plane with its processes (by its agent and CRIU: `vial-agent`'s `freeze`), and the disks
//! of all nodes, of the registry and of loaded images, as of one moment. The other containers are not dumped: what ran in
//! them starts again from the disks.
//!
//! ```text
//! freeze: all other containers halt ─► control plane halts, is dumped and copied, goes on ─► disks are copied ─► all go on
//! thaw:   lay: disks of a new cluster ─► sandbox, network (as for any cluster) ─► thaw: control plane from the dump,
//!         the others from their disks, at once
//! ```
//! # On disk
//! ```text
//! INTO/dump/          what the agent of the control plane wrote: a directory for each component, and its record
//! INTO/cluster/       what a cluster's directory begins with: nodes/, registry/, images/, pki/   (with `Disks::Copy`)
//! ```
//! What is never written in place is shared by links with the cluster it came from, and with those that come from it
//! ([`share`]); the memory of the control plane as well.
//!
//! # Who owns what
//! That halted containers go on is the business of who halted them: the first process of the sandbox and the agent, which
//! see the end of a keeper that is killed. The directory `INTO` is the caller's: after a failure he removes it.
//!
//! # Deliberately absent
//! Nodes that are virtual machines, which are frozen by other means: their containers are left alone here.

mod bolt;
mod freeze;
mod lay;
mod share;

pub use freeze::{Disks, Halted, freeze};
pub use lay::lay;

use std::path::PathBuf;

use crate::execute::on_host;
use crate::paths::Paths;
use crate::plan::{ContainerPlan, FREEZER, Plan};

/// The name of the dump, in a frozen cluster and in the agent's own directory.
const DUMP: &str = "dump";
/// What a cluster's directory begins with, in a frozen cluster.
pub(super) const CLUSTER: &str = "cluster";

/// The container whose processes are dumped.
pub(crate) fn control_plane(plan: &Plan) -> Option<&ContainerPlan> {
    let mut containers = plan.nodes.iter().flat_map(|node| &node.containers);
    containers.find(|one| {
        one.spec
            .mounts
            .iter()
            .any(|mount| mount.target == FREEZER.1)
    })
}

/// Where the agent of a control plane dumps to, as it sees it.
pub(crate) fn dump_inside() -> String {
    format!("{}/{DUMP}", FREEZER.1)
}

/// The same on the host.
fn dump_on_host(paths: &Paths, cluster: &str, container: &ContainerPlan) -> Option<PathBuf> {
    let mut mounts = container.spec.mounts.iter();
    let mount = mounts.find(|mount| mount.target == FREEZER.1)?;
    Some(on_host(paths, cluster, &mount.source).join(DUMP))
}

/// Removes the dump that a cluster was thawed from; what of it others share is theirs.
pub(crate) fn forget_dump(paths: &Paths, cluster: &str, plan: &Plan) {
    let dump = control_plane(plan).and_then(|one| dump_on_host(paths, cluster, one));
    if let Some(dump) = dump {
        // It takes space and does nothing; the next one takes its place.
        let _ = std::fs::remove_dir_all(dump);
    }
}
