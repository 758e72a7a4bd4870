//! A node image as an archive of container images, one for each name that kubeadm asks for.

use std::path::Path;

use vial_image::NodeImage;

use crate::Result;
use crate::oci::{self, Layer};

/// Writes it to `target`. The layer that holds a containerd root is left out: a container has no use for it.
pub(super) fn write(store: &Path, image: &NodeImage, names: &[&str], target: &Path) -> Result {
    let layers: Vec<_> = image
        .layers
        .iter()
        .filter(|layer| layer.title != "container images")
        .map(|layer| {
            let digest = layer.digest.to_string();
            Layer {
                path: store.join("blobs").join(digest.replace(':', "/")),
                digest,
                size: layer.size,
                media_type: layer.media_type.clone(),
                diff_id: layer.diff_id.to_string(),
            }
        })
        .collect();
    oci::write(target, super::exec::PATH, &layers, names)
}
