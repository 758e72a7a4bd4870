//! The container images of a cluster: from its image store to the nodes, and what the nodes have.
//!
//! ```text
//! ImageStore ──prepare──► blobs and snapshots on the node, held by a lease ──publish──► a name that pods can use
//!   (one copy)   hard links, all nodes at once          │                                 │ the lease goes
//!                                                       └─ a failure, a kill: nothing has a name; the lease is dropped
//!                                                          here, by the next delivery, or by its time, and containerd
//!                                                          collects what it held
//! ```
//! Who calls: the keeper for a person, and bring-up for nodes that start, one at a time (the keeper's lock).
//!
//! # What is where
//! [`Node`] speaks with containerd, [`links`] puts files under its root, [`pulling`] tells the API. Another kind of node, whose disk is not ours to
//! write, would have its bytes sent through containerd's content and diff services instead of `links`.

mod links;
mod list;
mod node;
pub mod pulling;

pub use list::{ImageSource, NodeImageStatus, list};

use futures::future::{join_all, try_join_all};
use vial_image::load::{ImageName, ImageStore, LoadedImage};
use vial_image::{Digest, NodeImage};
use vial_sandbox::Sandbox;

use crate::paths::Paths;
use crate::plan::{NodePlan, Plan};
use crate::progress::{Reporter, step};
use crate::{Error, Result};
use node::Node;

/// A living cluster, as far as its images are concerned.
#[derive(Clone, Copy)]
pub struct Cluster<'a> {
    /// Where files are.
    pub paths: &'a Paths,
    /// Its name.
    pub name: &'a str,
    /// Its nodes.
    pub plan: &'a Plan,
    /// Its sandbox.
    pub sandbox: &'a dyn Sandbox,
}

impl Cluster<'_> {
    /// The images that were loaded into it.
    #[must_use]
    pub fn store(&self) -> ImageStore {
        self.paths.image_store(self.name)
    }
}

/// The container images that come with a node image: full name and digest of the manifest.
#[must_use]
pub fn shipped(image: &NodeImage) -> Vec<(String, Digest)> {
    let containers = image.components.iter().filter(|one| one.path.is_none());
    containers
        .filter_map(|one| {
            let digest = format!("sha256:{}", one.sha256).parse().ok()?;
            Some((one.name.clone(), digest))
        })
        .collect()
}

/// Brings images of the store to the nodes that shall have them: to all, or under no new name to any.
///
/// # Errors
/// When the containerd of a node does not answer or refuses, or its disk is full.
pub async fn deliver(
    cluster: Cluster<'_>,
    images: &[LoadedImage],
    report: &Reporter,
) -> Result<()> {
    let nodes = cluster.plan.running().map(|node| async move {
        let wanted = wanted(images, &node.config.name);
        if wanted.is_empty() {
            return Ok(None);
        }
        let (name, title) = (Some(node.config.name.as_str()), "bring the image");
        let prepared = step(report, name, "images", title, async {
            let node = Node::open(cluster, node).await?;
            node.prepare(&cluster.store(), &wanted).await?;
            Ok::<_, Error>(node)
        });
        prepared.await.map(|node| Some((node, wanted)))
    });
    let prepared: Vec<_> = join_all(nodes).await;
    let failed = prepared.iter().any(Result::is_err);
    let mut failure = None;
    let mut nodes = Vec::new();
    for one in prepared {
        match one {
            Ok(Some(one)) => nodes.push(one),
            Ok(None) => {}
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    if !failed {
        let publishing = nodes.iter().map(|(node, wanted)| node.publish(wanted));
        failure = try_join_all(publishing).await.err();
    }
    // A lease that stays ends by its time; what the person has to know is the first failure.
    let _ = join_all(nodes.iter().map(|(node, _)| node.release())).await;
    failure.map_or(Ok(()), Err)
}

/// Brings a node that starts what the store has for it.
///
/// # Errors
/// As [`deliver`].
pub(crate) async fn deliver_to(
    cluster: Cluster<'_>,
    node: &NodePlan,
    report: &Reporter,
) -> Result<()> {
    let images = cluster.store().images()?;
    let images = wanted(&images, &node.config.name);
    if images.is_empty() {
        return Ok(());
    }
    let opened = Node::open(cluster, node).await?;
    let missing = opened.missing(images).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let name = Some(node.config.name.as_str());
    step(report, name, "images", "bring the loaded images", async {
        let prepared = opened.prepare(&cluster.store(), &missing).await;
        let published = match prepared {
            Ok(()) => opened.publish(&missing).await,
            failed => failed,
        };
        let released = opened.release().await;
        published.and(released)
    })
    .await
}

/// Brings all nodes what the store has for them and they lack.
///
/// # Errors
/// As [`deliver`].
pub async fn complete(cluster: Cluster<'_>, report: &Reporter) -> Result<()> {
    let nodes = cluster.plan.running();
    try_join_all(nodes.map(|node| deliver_to(cluster, node, report)))
        .await
        .map(drop)
}

/// Takes names away from all nodes; a name of the node image gets back what it meant there. Returns from how many nodes
/// each was taken.
///
/// # Errors
/// When the containerd of a node does not answer or refuses.
pub async fn remove(
    cluster: Cluster<'_>,
    names: &[ImageName],
    shipped: &[(String, Digest)],
) -> Result<Vec<usize>> {
    let nodes = cluster.plan.running().map(|node| async move {
        let node = Node::open(cluster, node).await?;
        node.remove(names, shipped).await
    });
    let removed = try_join_all(nodes).await?;
    let count = |index| removed.iter().filter(|node| node[index]).count();
    Ok((0..names.len()).map(count).collect())
}

fn wanted<'a>(images: &'a [LoadedImage], node: &str) -> Vec<&'a LoadedImage> {
    images.iter().filter(|image| image.is_for(node)).collect()
}
