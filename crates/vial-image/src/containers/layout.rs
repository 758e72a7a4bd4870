//! Container images as an OCI layout in a directory of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::images::Image;
use super::toolbox::Kept;
use crate::digest::Digest;
use crate::error::{IoContext, Result};
use crate::image::ComponentRecord;
use crate::layer::{self, Compressed, LayerTar};
use crate::oci::{self, CREATED, Descriptor, History, ImageConfig, Index, Manifest, Map, RootFs};
use crate::store::descriptor;

/// How containerd and `image-root` name an image in an index.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// An OCI layout in the making, in a directory of its own.
pub(super) struct Layout {
    root: PathBuf,
    index: Index,
    records: Vec<ComponentRecord>,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Result<Self> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).at("create", &blobs)?;
        Ok(Self {
            root: root.to_path_buf(),
            index: Index::default(),
            records: Vec::new(),
        })
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        fs::write(&path, bytes).at("write", &path)?;
        Ok(descriptor(media_type, digest, bytes.len()))
    }

    pub(super) fn layer(
        &self,
        make: impl FnOnce(&mut LayerTar<'_, '_>) -> Result<()>,
    ) -> Result<Compressed> {
        let aside = self.root.join("layer");
        let compressed =
            layer::compress(&File::create(&aside).at("create", &aside)?, &aside, make)?;
        fs::rename(&aside, self.blob_path(&compressed.digest)).at("rename", &aside)?;
        Ok(compressed)
    }

    pub(super) fn existing(&self, kept: &Kept) -> Result<Compressed> {
        let to = self.blob_path(&kept.compressed.digest);
        if fs::hard_link(&kept.file, &to).is_err() {
            fs::copy(&kept.file, &to).at("copy", &kept.file)?;
        }
        Ok(kept.compressed.clone())
    }

    pub(super) fn image(&mut self, image: &Image, layers: &[Compressed]) -> Result<()> {
        let config = oci::to_bytes(&ImageConfig {
            created: CREATED.into(),
            architecture: "amd64".into(),
            os: "linux".into(),
            config: image.run.clone(),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            },
            history: layers
                .iter()
                .map(|_| History {
                    created: CREATED.into(),
                    created_by: "vial".into(),
                })
                .collect(),
        });
        let manifest = oci::to_bytes(&Manifest {
            schema_version: 2,
            media_type: oci::MANIFEST.into(),
            config: self.blob(oci::CONFIG, &config)?,
            layers: layers
                .iter()
                .map(|layer| Descriptor {
                    media_type: layer::MEDIA_TYPE.into(),
                    digest: layer.digest.clone(),
                    size: layer.size,
                    annotations: Map::new(),
                })
                .collect(),
            annotations: Map::new(),
        });
        let manifest = self.blob(oci::MANIFEST, &manifest)?;
        for name in &image.names {
            let annotations = Map::from([(IMAGE_NAME.into(), name.clone())]);
            self.index.manifests.push(Descriptor {
                annotations,
                ..manifest.clone()
            });
            self.records.push(ComponentRecord {
                name: name.clone(),
                version: image.version.clone(),
                source: image.source.clone(),
                sha256: manifest.digest.hex().into(),
                path: None,
                modules: Vec::new(),
            });
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<ComponentRecord>> {
        for (name, bytes) in [
            ("index.json", oci::to_bytes(&self.index)),
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ] {
            let path = self.root.join(name);
            fs::write(&path, bytes).at("write", &path)?;
        }
        Ok(self.records)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::oci::RunConfig;

    pub(in super::super) fn image(names: &[&str]) -> Image {
        Image {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            run: RunConfig::default(),
            layers: Vec::new(),
            version: "v1".into(),
            source: "test".into(),
        }
    }

    #[test]
    fn a_layout_names_one_manifest_by_all_its_tags() {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(&dir.path().join("layout")).unwrap();
        let layer = layout
            .layer(|tar| tar.file("f", 0o644, 1, &b"x"[..]))
            .unwrap();
        layout.image(&image(&["a:1", "b:2"]), &[layer]).unwrap();
        let records = layout.finish().unwrap();
        assert_eq!(
            records
                .iter()
                .map(|record| record.name.as_str())
                .collect::<Vec<_>>(),
            ["a:1", "b:2"]
        );
        let index: Index =
            serde_json::from_slice(&fs::read(dir.path().join("layout/index.json")).unwrap())
                .unwrap();
        assert_eq!(index.manifests[0].digest, index.manifests[1].digest);
        for entry in fs::read_dir(dir.path().join("layout/blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let digest = Digest::of(&fs::read(&path).unwrap());
            assert_eq!(digest.hex(), path.file_name().unwrap().to_str().unwrap());
        }
    }
}
