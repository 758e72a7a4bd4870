//! Removing images, and what nothing needs any more.
//!
//! Needed is every blob and directory of an image that has a name, or that a cluster uses.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Store, Writer};
use crate::digest::Digest;
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::oci::REF_NAME;

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Images that had lost their name.
    pub images: usize,
    /// Blobs.
    pub blobs: usize,
    /// Bytes of these blobs; their unpacked directories held more.
    pub bytes: u64,
}

impl Store {
    /// Removes an image's name, and everything that nothing needs then. Refuses when its digest is `in_use` and this
    /// is its only name.
    pub fn remove(&self, reference: &str, in_use: &[Digest]) -> Result<Swept> {
        let writer = self.lock()?;
        let mut index = self.index()?;
        let target = self.resolve(&index, reference)?;
        let others = index
            .manifests
            .iter()
            .filter(|entry| entry.digest == target.digest)
            .count()
            - 1;
        if others == 0 && in_use.contains(&target.digest) {
            return Err(Error::InUse {
                reference: reference.to_owned(),
            });
        }
        index.manifests.retain(|entry| *entry != target);
        self.write_index(&index)?;
        writer.sweep(in_use)
    }

    /// Removes images without a name that are not `in_use`, and all blobs and directories that nothing needs.
    pub fn sweep(&self, in_use: &[Digest]) -> Result<Swept> {
        self.lock()?.sweep(in_use)
    }
}

impl Writer {
    fn sweep(&self, in_use: &[Digest]) -> Result<Swept> {
        let store = self.store();
        let mut swept = Swept::default();
        let mut index = store.index()?;
        let before = index.manifests.len();
        index.manifests.retain(|entry| {
            entry.annotations.contains_key(REF_NAME) || in_use.contains(&entry.digest)
        });
        swept.images = before - index.manifests.len();
        if swept.images > 0 {
            store.write_index(&index)?;
        }

        let mut needed = HashSet::new();
        for entry in &index.manifests {
            needed.insert(entry.digest.hex().to_owned());
            // Of an image whose manifest is damaged nothing can be known, and nothing be used.
            if let Ok(manifest) = store.manifest("", entry) {
                needed.insert(manifest.config.digest.hex().to_owned());
                needed.extend(
                    manifest
                        .layers
                        .iter()
                        .map(|layer| layer.digest.hex().to_owned()),
                );
            }
        }
        for path in children(&store.root().join("unpacked"))? {
            if !needed.contains(&name(&path)) {
                // Renamed first: what is at its place is always whole.
                let aside = self.scratch("swept-")?;
                fs::rename(&path, aside.path().join("layer")).at("rename", &path)?;
                let aside = aside.keep();
                disk::remove_tree(&aside)?;
            }
        }
        for path in children(&store.root().join("blobs/sha256"))? {
            if !needed.contains(&name(&path)) {
                swept.blobs += 1;
                swept.bytes += path.metadata().map_or(0, |metadata| metadata.len());
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        for path in children(&store.root().join("cache/layers"))? {
            let of_needed = fs::read(&path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<super::LayerBlob>(&bytes).ok())
                .is_some_and(|blob| needed.contains(blob.digest.hex()));
            if !of_needed {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(swept)
    }
}

fn children(directory: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.path()))
                    .collect()
            })
            .at("read", directory),
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{image, store};
    use super::*;

    fn count(store: &Store, directory: &str) -> usize {
        children(&store.root().join(directory)).unwrap().len()
    }

    #[test]
    fn removes_what_only_this_image_needed() {
        let (_home, store) = store();
        let kept = image(&store, "a:1", "x");
        image(&store, "a:2", "y");
        // Manifest, config and one of two layers.
        let swept = store.remove("a:2", &[]).unwrap();
        assert_eq!((swept.images, swept.blobs), (0, 3));
        assert_eq!(store.find("a:1").unwrap(), kept);
        store.remove("a:1", &[]).unwrap();
        for directory in ["blobs/sha256", "unpacked", "cache/layers", "tmp"] {
            assert_eq!(count(&store, directory), 0, "{directory}");
        }
    }

    #[test]
    fn an_image_in_use_is_not_removed() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        assert!(matches!(
            store.remove("a:1", std::slice::from_ref(&made.digest)),
            Err(Error::InUse { .. })
        ));
        // A second name may go.
        image(&store, "a:2", "x");
        store
            .remove("a:2", std::slice::from_ref(&made.digest))
            .unwrap();
        assert_eq!(store.find("a:1").unwrap(), made);
    }

    #[test]
    fn an_image_that_lost_its_name_stays_while_a_cluster_uses_it() {
        let (_home, store) = store();
        let old = image(&store, "a:1", "old");
        image(&store, "a:1", "new");
        assert_eq!(
            store.sweep(std::slice::from_ref(&old.digest)).unwrap(),
            Swept::default()
        );
        store.find(old.digest.as_str()).unwrap();
        assert_eq!(store.sweep(&[]).unwrap().images, 1);
        assert!(store.find(old.digest.as_str()).is_err());
        store.find("a:1").unwrap();
    }

    #[test]
    fn an_image_with_a_damaged_manifest_can_be_removed() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        fs::write(store.blob_path(&made.digest), "damaged").unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        store.remove("a:1", &[]).unwrap();
        assert_eq!(count(&store, "blobs/sha256"), 0);
    }
}
