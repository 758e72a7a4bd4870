//! Archives of container images (OCI image layout), as races need them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vial_image::Digest;

use crate::Result;

/// A layer that lies in a file.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Where.
    pub path: PathBuf,
    /// Of the file.
    pub digest: String,
    /// Of the file, in bytes.
    pub size: u64,
    /// What the file is: `application/vnd.oci.image.layer.v1.tar+gzip`.
    pub media_type: String,
    /// Digest of the unpacked tar stream.
    pub diff_id: String,
}

/// Writes one image under all `names` to `target`; its programs are looked for in `path`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write(target: &Path, path: &str, layers: &[Layer], names: &[&str]) -> Result {
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [format!("PATH={path}")]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let descriptors: Vec<_> = layers
        .iter()
        .map(|layer| json!({"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}))
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
        add(&mut archive, &blob(&digest(text)), text)?;
    }
    for layer in layers {
        archive.append_path_with_name(&layer.path, blob(&layer.digest))?;
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
    json!({"mediaType": media_type, "digest": digest(text), "size": text.len()})
}

fn digest(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}

/// `blobs/sha256/…`.
fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}
