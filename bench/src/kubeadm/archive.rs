//! A node image as an archive of container images, one for each name that kubeadm asks for (OCI image layout).

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use vial_image::NodeImage;

use crate::Result;

/// Writes it to `target`. The layer that holds a containerd root is left out: a container has no use for it.
pub(super) fn write(store: &Path, image: &NodeImage, names: &[&str], target: &Path) -> Result {
    let layers: Vec<_> = image
        .layers
        .iter()
        .filter(|layer| layer.title != "container images")
        .collect();
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| layer.diff_id.to_string())
        .collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [format!("PATH={}", super::exec::PATH)]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let descriptors: Vec<_> = layers
        .iter()
        .map(|layer| json!({"mediaType": layer.media_type, "digest": layer.digest.to_string(), "size": layer.size}))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": descriptors,
    })
    .to_string();
    let entries: Vec<_> = names
        .iter()
        .map(|name| {
            let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
            entry["annotations"] = json!({"io.containerd.image.name": name});
            entry
        })
        .collect();
    let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();

    let mut archive = tar::Builder::new(File::create(target)?);
    add(
        &mut archive,
        "oci-layout",
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    add(&mut archive, "index.json", &index)?;
    for text in [&config, &manifest] {
        add(&mut archive, &format!("blobs/sha256/{}", hex(text)), text)?;
    }
    for layer in layers {
        let digest = layer.digest.to_string();
        let path = format!("blobs/{}", digest.replace(':', "/"));
        archive.append_path_with_name(store.join(&path), &path)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}

fn add(archive: &mut tar::Builder<File>, path: &str, text: &str) -> Result {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len().try_into()?);
    header.set_mode(0o644);
    Ok(archive.append_data(&mut header, path, text.as_bytes())?)
}

fn descriptor(media_type: &str, text: &str) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", hex(text)), "size": text.len()})
}

fn hex(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
