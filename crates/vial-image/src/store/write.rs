//! Writing: blobs, layers, images. Only under the lock.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::read::{LAYER_TITLE, length};
use super::{COMPONENTS, CREATED_HERE, KUBERNETES, SUITE, Store};
use crate::digest::Digest;
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::image::{ComponentRecord, Layer, Reference};
use crate::layer::{self, LayerTar};
use crate::oci::{
    self, CREATED, Descriptor, History, ImageConfig, Manifest, Map, REF_NAME, RootFs, RunConfig,
};

/// A layer whose blob is in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerBlob {
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) title: String,
}

/// The right to write; other writers wait while it lives.
pub(crate) struct Writer {
    store: Store,
    _lock: File,
}

impl Writer {
    pub(super) fn new(store: Store, lock: File) -> Self {
        Self { store, _lock: lock }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// An empty directory on the store's file system; the next writer removes it if it is still there.
    pub(crate) fn scratch(&self, name: &str) -> Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix(name)
            .tempdir_in(self.store.tmp())
            .at("create a directory in", self.store.tmp())
    }

    /// A small blob.
    pub(crate) fn blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.store.blob_path(&digest);
        // A damaged blob of that name is replaced.
        if disk::read(&path).is_ok_and(|present| present == bytes) {
            return Ok(digest);
        }
        disk::write_atomically(&path, bytes)?;
        Ok(digest)
    }

    /// The layer made from these inputs: from the cache (`true`), or made now and unpacked.
    pub(crate) fn layer(
        &self,
        inputs: &Digest,
        title: &str,
        make: impl FnOnce(&mut LayerTar<'_, '_>) -> Result<()>,
    ) -> Result<(LayerBlob, bool)> {
        if let Some(blob) = self.cached(inputs) {
            return Ok((blob, true));
        }
        let blob = self.write_layer(title, make)?;
        self.unpack(title, &self.located(&blob))?;
        let record = serde_json::to_vec_pretty(&blob).map_err(|source| Error::DamagedFile {
            path: self.record(inputs),
            source: source.into(),
        })?;
        disk::write_atomically(&self.record(inputs), &record)?;
        Ok((blob, false))
    }

    /// The layer made from these inputs, if it is in the store and whole.
    pub(crate) fn cached(&self, inputs: &Digest) -> Option<LayerBlob> {
        let blob: LayerBlob = serde_json::from_slice(&fs::read(self.record(inputs)).ok()?).ok()?;
        let path = self.store.blob_path(&blob.digest);
        if length(&path) != Some(blob.size) {
            return None;
        }
        // A build is where damage is mended, so its content is looked at too: half a second for each gigabyte.
        let (actual, _) = File::open(&path).and_then(Digest::of_reader).ok()?;
        if actual != blob.digest {
            return None;
        }
        // When it cannot be unpacked the blob is damaged: it is made again.
        self.unpack(&blob.title, &self.located(&blob)).ok()?;
        Some(blob)
    }

    fn record(&self, inputs: &Digest) -> PathBuf {
        self.store
            .root
            .join("cache/layers")
            .join(format!("{}.json", inputs.hex()))
    }

    pub(crate) fn located(&self, blob: &LayerBlob) -> Layer {
        Layer {
            digest: blob.digest.clone(),
            diff_id: blob.diff_id.clone(),
            media_type: blob.media_type.clone(),
            size: blob.size,
            title: blob.title.clone(),
            unpacked: self.store.unpacked_path(&blob.digest),
        }
    }

    fn write_layer(
        &self,
        title: &str,
        make: impl FnOnce(&mut LayerTar<'_, '_>) -> Result<()>,
    ) -> Result<LayerBlob> {
        let tmp = self.store.tmp();
        let file = tempfile::Builder::new()
            .prefix("layer-")
            .tempfile_in(&tmp)
            .at("create a file in", &tmp)?;
        let compressed = layer::compress(file.as_file(), file.path(), make)?;
        disk::persist(file, &self.store.blob_path(&compressed.digest))?;
        Ok(LayerBlob {
            digest: compressed.digest,
            diff_id: compressed.diff_id,
            media_type: layer::MEDIA_TYPE.into(),
            size: compressed.size,
            title: title.to_owned(),
        })
    }

    /// Unpacks a layer's blob unless its directory is there and whole; verifies the blob on the way.
    pub(crate) fn unpack(&self, reference: &str, layer: &Layer) -> Result<()> {
        if self.store.is_whole(&layer.digest) {
            return Ok(());
        }
        // Programs and text shrink to a third or a quarter.
        disk::require_free(&self.store.root, layer.size.saturating_mul(4))?;
        let aside = self.scratch("unpack-")?;
        self.store.read_layer(reference, layer, |tar| {
            layer::unpack(&layer.title, tar, aside.path())
        })?;
        fs::set_permissions(
            aside.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .at("set the mode of", aside.path())?;
        self.set_aside(&layer.digest)?;
        let aside = aside.keep();
        fs::rename(&aside, &layer.unpacked).at("rename to", &layer.unpacked)?;
        self.mark_whole(&layer.digest)
    }

    /// Writes manifest and config and gives the image its name; an image that had the name stays without one.
    pub(crate) fn commit(
        &self,
        reference: &Reference,
        kubernetes: &str,
        suite: &str,
        components: &[ComponentRecord],
        layers: &[LayerBlob],
    ) -> Result<Digest> {
        let config = ImageConfig {
            created: CREATED.into(),
            architecture: "amd64".into(),
            os: "linux".into(),
            config: RunConfig {
                labels: Map::from([
                    (KUBERNETES.into(), kubernetes.into()),
                    (SUITE.into(), suite.into()),
                    (
                        COMPONENTS.into(),
                        String::from_utf8_lossy(&oci::to_bytes(&components)).into_owned(),
                    ),
                ]),
                ..RunConfig::default()
            },
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            },
            history: layers
                .iter()
                .map(|layer| History {
                    created: CREATED.into(),
                    created_by: format!("vial: {}", layer.title),
                })
                .collect(),
        };
        let config = oci::to_bytes(&config);
        let manifest = oci::to_bytes(&Manifest {
            schema_version: 2,
            media_type: oci::MANIFEST.into(),
            config: descriptor(oci::CONFIG, self.blob(&config)?, config.len()),
            layers: layers
                .iter()
                .map(|layer| Descriptor {
                    media_type: layer.media_type.clone(),
                    digest: layer.digest.clone(),
                    size: layer.size,
                    annotations: Map::from([(LAYER_TITLE.into(), layer.title.clone())]),
                })
                .collect(),
            annotations: Map::new(),
        });
        let digest = self.blob(&manifest)?;
        self.name(
            reference,
            kubernetes,
            descriptor(oci::MANIFEST, digest.clone(), manifest.len()),
        )?;
        Ok(digest)
    }

    /// Enters a manifest into the index.
    pub(super) fn name(
        &self,
        reference: &Reference,
        kubernetes: &str,
        mut entry: Descriptor,
    ) -> Result<()> {
        let mut index = self.store.index()?;
        let name = reference.to_string();
        let same = |old: &Descriptor| {
            old.digest == entry.digest && old.annotations.get(REF_NAME) == Some(&name)
        };
        if index.manifests.iter().any(same) {
            return Ok(());
        }
        for old in &mut index.manifests {
            if old.annotations.get(REF_NAME) == Some(&name) {
                old.annotations.remove(REF_NAME);
            }
        }
        // Once per digest is enough for those without a name.
        let named: Vec<_> = index
            .manifests
            .iter()
            .filter(|d| d.annotations.contains_key(REF_NAME))
            .map(|d| d.digest.clone())
            .collect();
        index.manifests.retain(|old| {
            old.annotations.contains_key(REF_NAME)
                || (old.digest != entry.digest && !named.contains(&old.digest))
        });
        entry.annotations = Map::from([
            (REF_NAME.into(), name),
            (KUBERNETES.into(), kubernetes.into()),
            (
                CREATED_HERE.into(),
                jiff::Timestamp::now()
                    .strftime("%Y-%m-%dT%H:%M:%SZ")
                    .to_string(),
            ),
        ]);
        index.manifests.push(entry);
        self.store.write_index(&index)
    }
}

pub(crate) fn descriptor(media_type: &str, digest: Digest, size: usize) -> Descriptor {
    Descriptor {
        media_type: media_type.into(),
        digest,
        size: size as u64,
        annotations: Map::new(),
    }
}

/// Hands the plain archive of a layer blob to `with`.
pub(super) fn decompress<T>(
    media_type: &str,
    blob: &mut impl Read,
    with: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    match media_type {
        t if t.ends_with("+zstd") => {
            with(&mut zstd::Decoder::new(blob).at("decompress", "a layer")?)
        }
        t if t.ends_with("+gzip") || t.ends_with(".gzip") => {
            with(&mut flate2::read::MultiGzDecoder::new(blob))
        }
        t if t.ends_with(".tar") => with(blob),
        _ => Err(Error::BadArchive {
            archive: "a layer".into(),
            reason: format!("its media type `{media_type}` is unknown"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{image, store};
    use super::*;
    use crate::layer::TarWriter;
    use std::io::Write as _;

    #[test]
    fn same_inputs_same_digest_in_another_home() {
        let ((_a, one), (_b, two)) = (store(), store());
        assert_eq!(
            image(&one, "a:1", "x").digest,
            image(&two, "a:1", "x").digest
        );
        assert_ne!(
            image(&one, "a:1", "y").digest,
            image(&two, "a:1", "x").digest
        );
    }

    #[test]
    fn a_cached_layer_is_not_made_again_unless_its_blob_is_damaged() {
        let (_home, store) = store();
        let writer = store.lock().unwrap();
        let inputs = Digest::of(b"inputs");
        let make = || {
            writer
                .layer(&inputs, "t", |tar| tar.file("f", 0o644, 1, &b"x"[..]))
                .unwrap()
        };
        let (first, cached) = make();
        assert!(!cached);
        assert_eq!(make(), (first.clone(), true));
        // Cut short, as by a full disk.
        fs::write(store.blob_path(&first.digest), "x").unwrap();
        assert_eq!(make(), (first.clone(), false));
        assert_eq!(make(), (first, true));
    }

    #[test]
    fn a_failed_layer_leaves_nothing() {
        let (_home, store) = store();
        let writer = store.lock().unwrap();
        let missing = PathBuf::from("/nonexistent/tree");
        writer
            .layer(&Digest::of(b"i"), "t", |tar| tar.tree("", &missing))
            .unwrap_err();
        assert_eq!(
            fs::read_dir(store.root().join("blobs/sha256"))
                .unwrap()
                .count(),
            0
        );
        assert_eq!(
            fs::read_dir(store.root().join("unpacked")).unwrap().count(),
            0
        );
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
    }

    #[test]
    fn the_next_writer_removes_what_a_killed_one_left() {
        let (_home, store) = store();
        fs::create_dir_all(store.tmp().join("unpack-x/etc")).unwrap();
        fs::write(store.tmp().join("layer-x"), "half").unwrap();
        let made = image(&store, "a:1", "x");
        assert_eq!(fs::read_dir(store.tmp()).unwrap().count(), 0);
        store.find("a:1").unwrap();
        assert!(made.layers.iter().all(|layer| layer.unpacked.is_dir()));
    }

    #[test]
    fn a_name_moves_and_the_old_image_stays() {
        let (_home, store) = store();
        let old = image(&store, "a:1", "old");
        let new = image(&store, "a:1", "new");
        assert_ne!(old.digest, new.digest);
        assert_eq!(store.find("a:1").unwrap().digest, new.digest);
        assert_eq!(store.find(old.digest.as_str()).unwrap().layers, old.layers);
        // And back again: one entry each.
        image(&store, "a:1", "old");
        assert_eq!(store.list().unwrap().len(), 2);
    }

    #[test]
    fn other_media_types_are_read_too() {
        let mut tar = TarWriter::new(Vec::new());
        tar.file("f", 0o644, 1, &b"x"[..]).unwrap();
        let tar = tar.finish().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        let gzip = gzip.finish().unwrap();
        let read = |media_type: &str, bytes: &[u8]| {
            decompress(media_type, &mut &bytes[..], |tar| {
                let mut out = Vec::new();
                tar.read_to_end(&mut out).at("read", "x")?;
                Ok(out)
            })
        };
        assert_eq!(
            read("application/vnd.oci.image.layer.v1.tar", &tar).unwrap(),
            tar
        );
        assert_eq!(
            read("application/vnd.oci.image.layer.v1.tar+gzip", &gzip).unwrap(),
            tar
        );
        assert_eq!(
            read("application/vnd.docker.image.rootfs.diff.tar.gzip", &gzip).unwrap(),
            tar
        );
        assert!(
            read("text/plain", &tar)
                .unwrap_err()
                .to_string()
                .contains("text/plain")
        );
    }
}
