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
use crate::oci::{Descriptor, REF_NAME};

/// What a sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Images that had lost their name.
    pub images: usize,
    /// Blobs.
    pub blobs: usize,
    /// Bytes of disk that were freed: those of the blobs and of the directories they were unpacked to.
    pub bytes: u64,
}

impl Store {
    /// Removes the names of images, and everything that nothing needs then. When one of them is not there, or is `in_use`
    /// and would lose its last name, nothing is removed.
    pub fn remove(&self, references: &[String], in_use: &[Digest]) -> Result<Swept> {
        let writer = self.lock()?;
        let mut index = self.index()?;
        let targets = references
            .iter()
            .map(|reference| Ok((reference, self.resolve(&index, reference)?)))
            .collect::<Result<Vec<_>>>()?;
        let all = std::mem::take(&mut index.manifests);
        let goes = |entry: &Descriptor| targets.iter().any(|(_, target)| target == entry);
        index.manifests = all.into_iter().filter(|entry| !goes(entry)).collect();
        for (reference, target) in &targets {
            let named = index
                .manifests
                .iter()
                .any(|entry| entry.digest == target.digest);
            if !named && in_use.contains(&target.digest) {
                return Err(Error::InUse {
                    reference: (*reference).clone(),
                });
            }
        }
        self.write_index(&index)?;
        writer.sweep(in_use)
    }

    /// Removes images without a name that are not `in_use`, and all blobs and directories that nothing needs.
    pub fn sweep(&self, in_use: &[Digest]) -> Result<Swept> {
        self.lock()?.sweep(in_use)
    }

    /// The hexadecimal digests of everything an image consists of.
    fn parts(&self, entry: &Descriptor) -> Vec<String> {
        let mut parts = vec![entry.digest.hex().to_owned()];
        // Of an image whose manifest is damaged nothing can be known, and nothing be used.
        if let Ok(manifest) = self.manifest("", entry) {
            parts.push(manifest.config.digest.hex().to_owned());
            parts.extend(
                manifest
                    .layers
                    .iter()
                    .map(|layer| layer.digest.hex().to_owned()),
            );
        }
        parts
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

        let (mut needed, mut used) = (HashSet::new(), HashSet::new());
        for entry in &index.manifests {
            let parts = store.parts(entry);
            if in_use.contains(&entry.digest) {
                used.extend(parts.iter().cloned());
            }
            needed.extend(parts);
        }
        for path in children(&store.root().join("unpacked"))? {
            let name = name(&path);
            let (layer, kind) = name.split_once('.').unwrap_or((&name, ""));
            // A damaged directory was set aside for the nodes that still run from it.
            let stays = if kind.starts_with("bad") {
                used.contains(layer)
            } else {
                needed.contains(layer)
            };
            if !stays {
                swept.bytes += disk::usage(&path);
                // Renamed first: what is at its place is always whole.
                let aside = self.scratch("swept-")?;
                fs::rename(&path, aside.path().join("layer")).at("rename", &path)?;
                let aside = aside.keep();
                disk::remove_tree(&aside)?;
            }
        }
        swept.bytes += self.sweep_machines(|image| needed.contains(image))?;
        for path in children(&store.root().join("blobs/sha256"))? {
            if !needed.contains(&name(&path)) {
                swept.blobs += 1;
                swept.bytes += disk::usage(&path);
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
        let swept = store.remove(&["a:2".to_owned()], &[]).unwrap();
        assert_eq!((swept.images, swept.blobs), (0, 3));
        assert_eq!(store.find("a:1").unwrap(), kept);
        store.remove(&["a:1".to_owned()], &[]).unwrap();
        for directory in ["blobs/sha256", "unpacked", "cache/layers", "tmp"] {
            assert_eq!(count(&store, directory), 0, "{directory}");
        }
    }

    #[test]
    fn an_image_in_use_is_not_removed() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        assert!(matches!(
            store.remove(&["a:1".to_owned()], std::slice::from_ref(&made.digest)),
            Err(Error::InUse { .. })
        ));
        // A second name may go.
        image(&store, "a:2", "x");
        store
            .remove(&["a:2".to_owned()], std::slice::from_ref(&made.digest))
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
        store.remove(&["a:1".to_owned()], &[]).unwrap();
        assert_eq!(count(&store, "blobs/sha256"), 0);
    }

    #[test]
    fn when_one_of_several_cannot_go_none_goes() {
        let (_home, store) = store();
        image(&store, "a:1", "x");
        let used = image(&store, "a:2", "y");
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let in_use = std::slice::from_ref(&used.digest);
        let error = store.remove(&names(&["a:1", "a:3"]), in_use).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
        let error = store.remove(&names(&["a:1", "a:2"]), in_use).unwrap_err();
        assert!(matches!(error, Error::InUse { .. }), "{error}");
        assert_eq!(store.list().unwrap().len(), 2);
        // The last of two names counts, and a name twice is one.
        image(&store, "a:4", "y");
        store.remove(&names(&["a:2", "a:2"]), in_use).unwrap();
        assert!(store.remove(&names(&["a:4"]), in_use).is_err());
        let swept = store.remove(&names(&["a:1", "a:4"]), &[]).unwrap();
        assert!(swept.bytes > 0);
        assert_eq!(count(&store, "unpacked"), 0);
    }
}
