//! Finding and listing images.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::write::decompress;
use super::{COMPONENTS, CREATED_HERE, KUBERNETES, SUITE, Store, reference_of};
use crate::digest::{Digest, HashingReader};
use crate::disk;
use crate::error::{Error, IoContext as _, Result};
use crate::image::{ComponentRecord, ImageSummary, Layer, NodeImage, Reference};
use crate::oci::{Descriptor, ImageConfig, Index, Manifest, REF_NAME};

/// Annotation of a manifest's layer: what it is for.
pub(super) const LAYER_TITLE: &str = "org.opencontainers.image.title";

impl Store {
    /// All images, by name. An image that lost its name to a newer one is listed by its digest.
    pub fn list(&self) -> Result<Vec<ImageSummary>> {
        let mut images = Vec::new();
        for descriptor in self.index()?.manifests {
            let reference = reference_of(&descriptor);
            // An image with a damaged manifest is listed all the same: it has to be seen to be removed.
            let size = self
                .manifest(&reference, &descriptor)
                .map(|manifest| size(&descriptor, &manifest))
                .unwrap_or(0);
            images.push(ImageSummary {
                reference,
                size,
                created: annotation(&descriptor, CREATED_HERE),
                kubernetes: annotation(&descriptor, KUBERNETES),
                digest: descriptor.digest,
            });
        }
        images.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(images)
    }

    /// The image of that name (`NAME:TAG`) or digest (`sha256:…`), unpacked. A layer whose directory is missing is
    /// unpacked again, which takes the writers' lock.
    pub fn find(&self, reference: &str) -> Result<NodeImage> {
        let descriptor = self.resolve(&self.index()?, reference)?;
        let name = reference_of(&descriptor);
        let manifest = self.manifest(&name, &descriptor)?;
        let config: ImageConfig = self.json(&name, &manifest.config)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(Error::DamagedBlob {
                reference: name,
                digest: manifest.config.digest,
                reason: "it does not have one diff id for each layer".into(),
            });
        }
        let layers: Vec<_> = manifest
            .layers
            .iter()
            .zip(&config.rootfs.diff_ids)
            .map(|(layer, diff_id)| Layer {
                digest: layer.digest.clone(),
                diff_id: diff_id.clone(),
                media_type: layer.media_type.clone(),
                size: layer.size,
                title: annotation(layer, LAYER_TITLE),
                unpacked: self.unpacked_path(&layer.digest),
            })
            .collect();
        for layer in &layers {
            self.check_size(&name, &layer.digest, layer.size)?;
        }
        if layers.iter().any(|layer| !layer.unpacked.is_dir()) {
            self.unpack_damaged(&name, &layers)?;
        }
        let label = |key: &str| config.config.labels.get(key).cloned().unwrap_or_default();
        let components: Vec<ComponentRecord> = match config.config.labels.get(COMPONENTS) {
            None => Vec::new(),
            Some(text) => serde_json::from_str(text).map_err(|source| Error::DamagedFile {
                path: self.blob_path(&manifest.config.digest),
                source: source.into(),
            })?,
        };
        Ok(NodeImage {
            size: size(&descriptor, &manifest),
            created: annotation(&descriptor, CREATED_HERE),
            kubernetes: label(KUBERNETES),
            suite: label(SUITE),
            reference: name,
            digest: descriptor.digest,
            components,
            layers,
        })
    }

    /// As [`find`](Store::find), for those who are about to run nodes from it: every layer's directory is looked at, and
    /// unpacked anew when it is not whole. Takes some hundredths of a second.
    pub fn ready(&self, reference: &str) -> Result<NodeImage> {
        let image = self.find(reference)?;
        if image
            .layers
            .iter()
            .any(|layer| !self.is_whole(&layer.digest))
        {
            self.unpack_damaged(&image.reference, &image.layers)?;
        }
        Ok(image)
    }

    /// Hands the archive of a layer, out of its blob, to `with`. The blob is verified on the way: when it is damaged, that
    /// is the error, whatever was made of it.
    pub(crate) fn read_layer<T>(
        &self,
        reference: &str,
        layer: &Layer,
        with: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        let path = self.blob_path(&layer.digest);
        let mut blob = HashingReader::new(BufReader::with_capacity(
            1 << 20,
            File::open(&path).at("open", &path)?,
        ));
        let result = decompress(&layer.media_type, &mut blob, |mut tar| {
            let result = with(&mut tar);
            // Whatever follows the archive's end belongs to the digest.
            io::copy(&mut tar, &mut io::sink()).at("read", &path)?;
            result
        });
        io::copy(&mut blob, &mut io::sink()).at("read", &path)?;
        let (actual, _) = blob.finish();
        if actual != layer.digest {
            let reason = format!("its content has digest {actual}");
            return Err(damaged(reference, &layer.digest, reason));
        }
        result
    }

    fn unpack_damaged(&self, reference: &str, layers: &[Layer]) -> Result<()> {
        let writer = self.lock()?;
        layers
            .iter()
            .try_for_each(|layer| writer.unpack(reference, layer))
    }

    /// The index entry of a name or digest.
    pub(super) fn resolve(&self, index: &Index, reference: &str) -> Result<Descriptor> {
        if let Ok(digest) = reference.parse::<Digest>()
            && let Some(found) = index
                .manifests
                .iter()
                .find(|descriptor| descriptor.digest == digest)
        {
            return Ok(found.clone());
        }
        let names = || {
            index
                .manifests
                .iter()
                .filter_map(|descriptor| descriptor.annotations.get(REF_NAME))
        };
        let wanted = if reference.starts_with("sha256:") {
            reference.to_owned()
        } else {
            reference.parse::<Reference>()?.to_string()
        };
        let found = index
            .manifests
            .iter()
            .find(|descriptor| descriptor.annotations.get(REF_NAME) == Some(&wanted));
        found.cloned().ok_or_else(|| {
            let mut near: Vec<String> = names()
                .filter(|name| strsim::jaro_winkler(name, &wanted) > 0.8)
                .cloned()
                .collect();
            if near.is_empty() {
                near = names().cloned().collect();
            }
            near.sort();
            Error::NotFound {
                reference: wanted,
                near,
            }
        })
    }

    pub(super) fn manifest(&self, reference: &str, descriptor: &Descriptor) -> Result<Manifest> {
        self.json(reference, descriptor)
    }

    /// A small blob, its digest verified.
    fn json<T: serde::de::DeserializeOwned>(
        &self,
        reference: &str,
        descriptor: &Descriptor,
    ) -> Result<T> {
        self.check_size(reference, &descriptor.digest, descriptor.size)?;
        let path = self.blob_path(&descriptor.digest);
        let bytes = disk::read(&path)?;
        let actual = Digest::of(&bytes);
        if actual != descriptor.digest {
            return Err(damaged(
                reference,
                &descriptor.digest,
                format!("its content has digest {actual}"),
            ));
        }
        serde_json::from_slice(&bytes).map_err(|source| Error::DamagedFile {
            path,
            source: source.into(),
        })
    }

    /// The cheap half of verification, done at every use.
    pub(super) fn check_size(&self, reference: &str, digest: &Digest, size: u64) -> Result<()> {
        match length(&self.blob_path(digest)) {
            Some(actual) if actual == size => Ok(()),
            Some(actual) => Err(damaged(
                reference,
                digest,
                format!("it has {actual} bytes instead of {size}"),
            )),
            None => Err(damaged(reference, digest, "it is missing".into())),
        }
    }
}

pub(super) fn damaged(reference: &str, digest: &Digest, reason: String) -> Error {
    Error::DamagedBlob {
        reference: reference.to_owned(),
        digest: digest.clone(),
        reason,
    }
}

pub(super) fn length(path: &Path) -> Option<u64> {
    path.metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.len())
}

fn annotation(descriptor: &Descriptor, key: &str) -> String {
    descriptor.annotations.get(key).cloned().unwrap_or_default()
}

fn size(descriptor: &Descriptor, manifest: &Manifest) -> u64 {
    descriptor.size
        + manifest.config.size
        + manifest.layers.iter().map(|layer| layer.size).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{image, store};
    use super::*;

    #[test]
    fn finds_what_was_written() {
        let (_home, store) = store();
        let made = image(&store, "vial/node:v1.36.3", "x");
        assert_eq!(made.kubernetes, "v1.36.3");
        assert_eq!(made.component("program").unwrap().version, "v1");
        assert_eq!(
            std::fs::read_to_string(made.in_layers("/usr/bin/program").unwrap()).unwrap(),
            "x"
        );
        assert_eq!(made.lower_dirs().len(), 2);
        assert!(
            made.lower_dirs()[0].join("usr/bin/program").is_file(),
            "the topmost layer comes first"
        );
        assert_eq!(store.find(made.digest.as_str()).unwrap(), made);
        assert_eq!(store.list().unwrap()[0].digest, made.digest);
    }

    #[test]
    fn a_wrong_name_tells_near_ones() {
        let (_home, store) = store();
        assert!(
            store
                .find("x")
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("build")
        );
        image(&store, "vial/node:v1.36.3", "x");
        image(&store, "other:1", "x");
        let error = store.find("vial/node:v1.36.4").unwrap_err();
        assert!(
            matches!(&error, Error::NotFound { near, .. } if near == &["vial/node:v1.36.3"]),
            "{error:?}"
        );
    }

    #[test]
    fn a_damaged_blob_is_named() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        let blob = store.blob_path(&made.layers[0].digest);
        std::fs::write(&blob, "short").unwrap();
        let error = store.find("a:1").unwrap_err();
        assert!(
            error.to_string().contains(made.layers[0].digest.as_str()),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("build -t a:1"));
        std::fs::remove_file(&blob).unwrap();
        assert!(
            store
                .find("a:1")
                .unwrap_err()
                .to_string()
                .contains("missing")
        );
    }

    #[test]
    fn a_missing_directory_is_unpacked_again_from_an_intact_blob_only() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        let layer = &made.layers[1];
        std::fs::remove_dir_all(&layer.unpacked).unwrap();
        assert_eq!(store.find("a:1").unwrap(), made);
        assert!(layer.unpacked.join("usr/bin/program").is_file());

        std::fs::remove_dir_all(&layer.unpacked).unwrap();
        let blob = store.blob_path(&layer.digest);
        let mut bytes = std::fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&blob, bytes).unwrap();
        assert!(matches!(
            store.find("a:1").unwrap_err(),
            Error::DamagedBlob { .. }
        ));
        assert!(!layer.unpacked.exists());
    }

    #[test]
    fn a_damaged_index_is_named() {
        let (_home, store) = store();
        std::fs::write(store.root().join("index.json"), "{").unwrap();
        assert!(
            store
                .list()
                .unwrap_err()
                .to_string()
                .contains("index.json is damaged")
        );
    }
}
