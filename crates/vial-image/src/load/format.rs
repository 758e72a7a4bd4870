//! What archives of container images say: the JSON of OCI layouts and of `docker save`, as strangers write it.
//!
//! Unlike [`crate::oci`], which writes what vial digests, this takes whatever is there and looks at what it needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// OCI image spec, "Image Layout Specification": what a layout has in it.
pub(super) const INDEX: &str = "index.json";
/// `docker save`: which config and layers make an image, and its tags.
pub(super) const DOCKER_MANIFEST: &str = "manifest.json";
/// `docker save` before 1.10: names, tags, and the topmost layer of each.
pub(super) const DOCKER_REPOSITORIES: &str = "repositories";
/// The full name of an image in an index (containerd, buildx).
pub(super) const FULL_NAME: &str = "io.containerd.image.name";

/// OCI image spec, "Content Descriptors".
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
}

impl Descriptor {
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        Some(self.annotations.as_ref()?.get(key)?.as_str())
    }

    /// Where a layout has it.
    pub(super) fn path(&self) -> Option<String> {
        let digest: Digest = self.digest.parse().ok()?;
        Some(blob_path(&digest))
    }

    pub(super) fn is_index(&self) -> bool {
        self.media_type == "application/vnd.oci.image.index.v1+json"
            || self.media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
    }
}

pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// For which machines.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
}

impl Platform {
    /// What the nodes are: this machine's architecture, in Go's words.
    pub(super) fn of_nodes() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: None,
        }
    }

    pub(super) fn fits(&self, nodes: &Self) -> bool {
        self.os == nodes.os && self.architecture == nodes.architecture
    }

    /// Attestations and the like are in an index as `unknown/unknown`.
    pub(super) fn is_known(&self) -> bool {
        self.os != "unknown" && self.architecture != "unknown"
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

/// OCI image spec, "Image Index".
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

/// OCI image spec, "Image Manifest"; Docker's schema 2 has the same fields.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// OCI image spec, "Image Configuration": what decides where and how it is unpacked.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
    pub(super) rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    #[serde(default)]
    pub(super) diff_ids: Vec<String>,
}

/// One image of a `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Vec<String>,
}

/// `repositories`: repository → tag → the topmost layer.
pub(super) type Repositories = BTreeMap<String, BTreeMap<String, String>>;

/// `ID/json` of an image before manifests.
#[derive(Debug, Deserialize)]
pub(super) struct OldLayer {
    #[serde(default)]
    pub(super) parent: Option<String>,
    #[serde(default)]
    pub(super) os: Option<String>,
    #[serde(default)]
    pub(super) architecture: Option<String>,
    #[serde(default)]
    pub(super) created: Option<String>,
    #[serde(default)]
    pub(super) config: serde_json::Value,
}

/// The config that an image before manifests would have today.
#[derive(Debug, Serialize)]
pub(super) struct NewConfig {
    pub(super) created: Option<String>,
    pub(super) architecture: String,
    pub(super) os: String,
    pub(super) config: serde_json::Value,
    pub(super) rootfs: NewRootFs,
}

#[derive(Debug, Serialize)]
pub(super) struct NewRootFs {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) diff_ids: Vec<Digest>,
}
