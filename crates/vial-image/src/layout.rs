//! Container images as an OCI layout in a directory of its own.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::disk;
use crate::error::{IoContext, Result};
use crate::layer::{self, Compressed, LayerTar};
use crate::oci::{
    self, CREATED, Descriptor, History, ImageConfig, Index, Manifest, Map, RootFs, RunConfig,
};
use crate::store::descriptor;

/// How containerd and `image-root` name an image in an index.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

/// What makes a directory a layout (OCI image spec, "Image Layout Specification").
const MARK: &str = "oci-layout";
const MARK_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "index.json";

/// An OCI layout in the making, in a directory of its own.
pub(crate) struct Layout {
    root: PathBuf,
    index: Index,
    /// The annotations that say an image's name.
    named_by: &'static [&'static str],
}

impl Layout {
    /// A layout in `root`, which is made; its images are named by these annotations.
    pub(crate) fn new(root: &Path, named_by: &'static [&'static str]) -> Result<Self> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).at("create", &blobs)?;
        Ok(Self {
            root: root.to_path_buf(),
            index: Index::default(),
            named_by,
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

    pub(crate) fn layer(
        &self,
        make: impl FnOnce(&mut LayerTar<'_, '_>) -> Result<()>,
    ) -> Result<Compressed> {
        let aside = self.root.join("layer");
        let compressed =
            layer::compress(&File::create(&aside).at("create", &aside)?, &aside, make)?;
        fs::rename(&aside, self.blob_path(&compressed.digest)).at("rename", &aside)?;
        Ok(compressed)
    }

    /// Takes a layer that was made before, as a file.
    pub(crate) fn existing(&self, file: &Path, layer: &Compressed) -> Result<()> {
        let to = self.blob_path(&layer.digest);
        if fs::hard_link(file, &to).is_err() {
            fs::copy(file, &to).at("copy", file)?;
        }
        Ok(())
    }

    /// Adds an image of layers that are there, lowest first; returns the digest of its manifest.
    pub(crate) fn image(
        &mut self,
        names: &[String],
        run: &RunConfig,
        layers: &[Compressed],
    ) -> Result<Digest> {
        let config = oci::to_bytes(&ImageConfig {
            created: CREATED.into(),
            architecture: "amd64".into(),
            os: "linux".into(),
            config: run.clone(),
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
        for name in names {
            let keys = self.named_by.iter();
            self.index.manifests.push(Descriptor {
                annotations: keys.map(|&key| (key.into(), name.clone())).collect(),
                ..manifest.clone()
            });
        }
        Ok(manifest.digest)
    }

    /// Writes what makes the directory a layout.
    pub(crate) fn finish(self) -> Result<()> {
        for (name, bytes) in [
            (INDEX, &oci::to_bytes(&self.index)[..]),
            (MARK, MARK_CONTENT),
        ] {
            let path = self.root.join(name);
            fs::write(&path, bytes).at("write", &path)?;
        }
        Ok(())
    }
}

/// Writes `index` and those `blobs` of a layout, by their hexadecimal digests, as an archive: the same bytes of the same
/// files.
fn archive(root: &Path, index: &[u8], blobs: &[String], out: impl Write) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(out);
    archive.mode(tar::HeaderMode::Deterministic);
    for (name, bytes) in [(MARK, MARK_CONTENT), (INDEX, index)] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes)?;
    }
    for name in blobs {
        let path = Path::new("blobs/sha256").join(name);
        archive.append_path_with_name(root.join(&path), &path)?;
    }
    archive.into_inner()?.flush()
}

/// Writes a layout as an archive, whole or not at all; to something else than a file (`/dev/stdout`) as it comes.
pub(crate) fn write_archive(root: &Path, path: &Path) -> Result<()> {
    let index = disk::read(&root.join(INDEX))?;
    let blobs = root.join("blobs/sha256");
    let entries = fs::read_dir(&blobs).at("read", &blobs)?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()
        .at("read", &blobs)?;
    names.sort();
    write_part(root, &index, &names, path)
}

/// As [`write_archive`], but only those `blobs`, under an index of their own.
pub(crate) fn write_part(root: &Path, index: &[u8], blobs: &[String], path: &Path) -> Result<()> {
    if path.exists() && !path.is_file() {
        let file = File::options().write(true).open(path).at("open", path)?;
        return archive(root, index, blobs, BufWriter::new(file)).at("write", path);
    }
    let parent = disk::directory_of(path);
    let file = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(parent)
        .at("create a file in", parent)?;
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file());
    archive(root, index, blobs, &mut out).at("write", path)?;
    out.flush().at("write", path)?;
    drop(out);
    file.as_file().sync_all().at("sync", path)?;
    disk::persist(file, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_names_one_manifest_by_all_its_tags() {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(&dir.path().join("layout"), &[IMAGE_NAME]).unwrap();
        let layer = layout
            .layer(|tar| tar.file("f", 0o644, 1, &b"x"[..]))
            .unwrap();
        let names = ["a:1".to_owned(), "b:2".to_owned()];
        layout
            .image(&names, &RunConfig::default(), &[layer])
            .unwrap();
        layout.finish().unwrap();
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
