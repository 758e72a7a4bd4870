//! What images the nodes have.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use vial_image::Digest;
use vial_image::means::is_means;

use super::Cluster;
use super::node::{Node, digest_of, is_id, is_loaded};
use crate::Result;

/// How an image came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageSource {
    /// With the node image.
    NodeImage,
    /// By `vial image load`.
    Loaded,
    /// By vial itself, for pods.
    Vial,
    /// From a registry, by a node.
    Pulled,
}

impl ImageSource {
    /// `node image`, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeImage => "node image",
            Self::Loaded => "loaded",
            Self::Vial => "vial",
            Self::Pulled => "pulled",
        }
    }
}

/// One name and digest, and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeImageStatus {
    /// `docker.io/library/nginx:1.29`.
    pub name: String,
    /// Of its manifest (of its index, where a registry had one).
    pub digest: String,
    /// Bytes of its blobs.
    pub size: u64,
    /// How it came there.
    pub source: ImageSource,
    /// The nodes that have it.
    pub nodes: Vec<String>,
}

/// The images of all nodes, by name. One name may stand for different digests on different nodes: then it is there
/// more than once.
///
/// # Errors
/// When the containerd of a node does not answer.
pub async fn list(
    cluster: Cluster<'_>,
    shipped: &[(String, Digest)],
) -> Result<Vec<NodeImageStatus>> {
    let nodes = cluster.plan.running().map(|node| async move {
        let name = node.config.name.clone();
        let node = Node::open(cluster, node).await?;
        let (images, sizes) = futures::try_join!(node.images(), node.sizes())?;
        Ok::<_, crate::Error>((name, images, sizes))
    });
    let mut found: BTreeMap<(String, String), NodeImageStatus> = BTreeMap::new();
    for (node, images, sizes) in try_join_all(nodes).await? {
        for image in images.iter().filter(|image| !is_id(&image.name)) {
            let digest = digest_of(image).to_owned();
            let shipped = shipped
                .iter()
                .any(|(name, shipped)| *name == image.name && shipped.as_str() == digest);
            let source = match () {
                () if shipped => ImageSource::NodeImage,
                () if is_loaded(image) && is_means(&image.name) => ImageSource::Vial,
                () if is_loaded(image) => ImageSource::Loaded,
                () => ImageSource::Pulled,
            };
            let key = (image.name.clone(), digest.clone());
            let entry = found.entry(key).or_insert_with(|| NodeImageStatus {
                name: image.name.clone(),
                digest,
                size: 0,
                source,
                nodes: Vec::new(),
            });
            entry.size = entry.size.max(sizes.get(&image.name).copied().unwrap_or(0));
            entry.nodes.push(node.clone());
        }
    }
    Ok(found.into_values().collect())
}
