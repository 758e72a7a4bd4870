//! What a node image is to those who use it: its name, its parts, its directories for overlayfs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk;
use crate::error::{Error, Result};

/// Where the list of what is in a node image lies in it.
pub(crate) const SBOM: &str = "usr/share/vial/sbom.spdx.json";

/// `NAME:TAG`, `latest` when no tag is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    name: String,
    tag: String,
}

impl Reference {
    /// `vial/node`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `v1.36.3`.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason| Error::BadReference {
            reference: text.to_owned(),
            reason,
        };
        // A colon before the last slash belongs to a registry's port.
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (text, "latest"),
        };
        if name.is_empty() {
            return Err(bad("the name is empty"));
        }
        if name.len() > 255 {
            return Err(bad("the name is longer than 255 characters"));
        }
        let mut parts = name.split('/');
        let first = parts.clone().next().unwrap_or_default();
        if first.contains(':') {
            parts.next();
            let (host, port) = first.split_once(':').unwrap_or_default();
            if !name.contains('/') || host.is_empty() || port.parse::<u16>().is_err() {
                return Err(bad("only the tag comes after a colon"));
            }
        }
        for part in parts {
            let ok = !part.is_empty()
                && part
                    .bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
                && !part.starts_with(['.', '_', '-'])
                && !part.ends_with(['.', '_', '-']);
            if !ok {
                return Err(bad(
                    "each part of a name has lower-case letters, digits, and . _ - between them",
                ));
            }
        }
        let ok = !tag.is_empty()
            && tag.len() <= 128
            && tag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !tag.starts_with(['.', '-']);
        if !ok {
            return Err(bad("a tag has up to 128 letters, digits and . _ -"));
        }
        Ok(Self {
            name: name.to_owned(),
            tag: tag.to_owned(),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

/// One pinned program in a node image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentRecord {
    /// `kube-apiserver`; of a container image its reference.
    pub name: String,
    /// `v1.36.3`.
    pub version: String,
    /// `go: k8s.io/kubernetes`, `release: https://…`, `dir: /…`, `debian trixie`.
    pub source: String,
    /// Hexadecimal, of the program's file (of a container image: of its manifest).
    pub sha256: String,
    /// Path in the node; `None` for a container image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Go modules it is linked from: path and version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<(String, String)>,
}

/// One layer of a node image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// Of the compressed blob.
    pub digest: Digest,
    /// Of the tar in it.
    pub diff_id: Digest,
    /// OCI media type.
    pub media_type: String,
    /// Bytes of the blob.
    pub size: u64,
    /// What it is for: `debian trixie`, `kubelet v1.36.3`.
    pub title: String,
    /// Its directory, a layer of an overlay mount; below [`Store::root`](crate::Store::root).
    pub unpacked: PathBuf,
}

/// A line of `vial node-image ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSummary {
    /// `vial/node:v1.36.3`.
    pub reference: String,
    /// Of the manifest.
    pub digest: Digest,
    /// When it was built or pulled here, RFC 3339.
    pub created: String,
    /// Bytes of all its blobs.
    pub size: u64,
    /// `v1.36.3`.
    pub kubernetes: String,
}

/// A node image in the store, unpacked and ready to mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeImage {
    /// `vial/node:v1.36.3`.
    pub reference: String,
    /// Of the manifest.
    pub digest: Digest,
    /// When it was built or pulled here, RFC 3339.
    pub created: String,
    /// Bytes of all its blobs.
    pub size: u64,
    /// `v1.36.3`.
    pub kubernetes: String,
    /// Debian suite.
    pub suite: String,
    /// The programs and container images in it.
    pub components: Vec<ComponentRecord>,
    /// Lowest first, as OCI lists them.
    pub layers: Vec<Layer>,
}

impl NodeImage {
    /// Directories for overlayfs's `lowerdir`, topmost first, on the host.
    ///
    /// Inside a sandbox, replace the prefix [`Store::root`](crate::Store::root) by `/vial/images`.
    pub fn lower_dirs(&self) -> Vec<PathBuf> {
        self.layers
            .iter()
            .rev()
            .map(|layer| layer.unpacked.clone())
            .collect()
    }

    /// The containerd root with the container images, on the host: to be cloned for a node.
    ///
    /// Everything in it may be hard-linked except the two databases that containerd writes in place; these are to be
    /// copied: [`CONTAINERD_DATABASES`](Self::CONTAINERD_DATABASES). When no layer has one (an image without
    /// container images), the path does not exist.
    pub fn containerd_root(&self) -> PathBuf {
        self.in_layers(Self::CONTAINERD_ROOT)
            .unwrap_or_else(|| PathBuf::from("/nonexistent").join(Self::CONTAINERD_ROOT))
    }

    /// Where the baked containerd root is in the image, below its root.
    pub const CONTAINERD_ROOT: &'static str = "usr/lib/vial/containerd";

    /// Files below [`containerd_root`](Self::containerd_root) that a clone must copy, not link.
    pub const CONTAINERD_DATABASES: [&'static str; 2] = [
        "io.containerd.metadata.v1.bolt/meta.db",
        "io.containerd.snapshotter.v1.overlayfs/metadata.db",
    ];

    /// The bill of materials: an SPDX 2.3 document in JSON.
    pub fn sbom(&self) -> Result<serde_json::Value> {
        let path = self.in_layers(SBOM).ok_or_else(|| Error::BadArchive {
            archive: format!("node image `{}`", self.reference),
            reason: format!("it has no /{SBOM}"),
        })?;
        serde_json::from_slice(&disk::read(&path)?).map_err(|source| Error::DamagedFile {
            path,
            source: source.into(),
        })
    }

    /// Where a file of the image is on the host: in the topmost layer that has it.
    pub fn in_layers(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        let path = path.as_ref();
        let path = path.strip_prefix("/").unwrap_or(path);
        self.layers
            .iter()
            .rev()
            .map(|layer| layer.unpacked.join(path))
            .find(|path| path.symlink_metadata().is_ok())
    }

    /// What a program in it is.
    pub fn component(&self, name: &str) -> Option<&ComponentRecord> {
        self.components
            .iter()
            .find(|component| component.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_references() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), expected)
        };
        check("vial/node:v1.36.3", "vial/node:v1.36.3");
        check("mine", "mine:latest");
        check("localhost:5000/a/b", "localhost:5000/a/b:latest");
        check("localhost:5000/a/b:1", "localhost:5000/a/b:1");
    }

    #[test]
    fn refuses_bad_references() {
        for bad in [
            "",
            ":",
            "a:",
            ":b",
            "A:b",
            "a//b",
            "a:b:c",
            "a b",
            "-a",
            "a:.x",
            "../x",
            "a/../b:c",
            "x:99999/a",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }
}
