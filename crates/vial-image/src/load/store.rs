//! The images that were loaded into one cluster: each blob and each unpacked layer once, for all nodes.
//!
//! ```text
//! $VIAL_HOME/clusters/NAME/images/
//!   images.json          what the nodes shall have; replaced as a whole
//!   blobs/sha256/HEX     manifests, configs, layers as they came
//!   layers/HEX/          an unpacked layer, by its chain id (OCI image spec, "Layer ChainID"); made once, never changed
//!   tmp/                 what is in the making; emptied by the next writer
//!   .lock                writers hold it (flock); readers need nothing
//! ```
//! A node gets hard links to blobs and layers' files: what is removed here lives on where a node still has it.
//!
//! # States of an image
//! ```text
//! blobs, layers written ─► images.json names it ─► nodes get it, also those that are added later ─► removed ─► swept
//! ```
//! A process killed at any point leaves whole files that nothing names: the next writer removes them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ImageName, Result};
use crate::digest::Digest;
use crate::disk;
use crate::error::{Error, IoContext as _};

/// What containerd needs to know of a file in its content store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// OCI or Docker media type.
    pub media_type: String,
    /// Of the file.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// One layer of a loaded image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLayer {
    /// As it came.
    pub blob: Blob,
    /// Of the plain archive in it.
    pub diff_id: Digest,
    /// Of it and all layers below it: the name of its unpacked directory, and of its snapshot in containerd.
    pub chain_id: Digest,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadedImage {
    /// What pods call it.
    pub name: ImageName,
    /// For one platform.
    pub manifest: Blob,
    /// Its digest is the image's id for the kubelet.
    pub config: Blob,
    /// Lowest first.
    pub layers: Vec<ImageLayer>,
    /// Which nodes shall have it; empty: all, also those to come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

impl LoadedImage {
    /// Bytes of all its blobs.
    pub fn size(&self) -> u64 {
        self.blobs().map(|blob| blob.size).sum()
    }

    /// Everything of it that lies in a content store.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        [&self.manifest, &self.config]
            .into_iter()
            .chain(self.layers.iter().map(|layer| &layer.blob))
    }

    /// Shall this node have it?
    pub fn is_for(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|one| one == node)
    }
}

/// The images of one cluster. Cheap to clone; holds no file open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStore {
    root: PathBuf,
}

impl ImageStore {
    /// The store at `root`, whose parent must exist; it is made by its first writer.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// All loaded images, by name.
    ///
    /// # Errors
    /// When the list cannot be read or is damaged.
    pub fn images(&self) -> Result<Vec<LoadedImage>> {
        let path = self.list_path();
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            bytes => Ok(
                serde_json::from_slice(&bytes.at("read", &path)?).map_err(|source| {
                    Error::DamagedFile {
                        path,
                        source: source.into(),
                    }
                })?,
            ),
        }
    }

    /// Where a blob lies.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Where an unpacked layer lies.
    pub fn layer_path(&self, chain_id: &Digest) -> PathBuf {
        self.root.join("layers").join(chain_id.hex())
    }

    /// Waits for other writers, then keeps them away; removes what killed ones left.
    ///
    /// # Errors
    /// When the cluster is gone, or its directory cannot be written.
    pub fn lock(&self) -> Result<ImageWriter> {
        make_directory(&self.root)?;
        let file = disk::lock(&self.root.join(".lock"))?;
        self.writer(file)
    }

    /// The same, but nobody is waited for: `None` while there is another writer.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    pub fn try_lock(&self) -> Result<Option<ImageWriter>> {
        make_directory(&self.root)?;
        let file = disk::try_lock(&self.root.join(".lock"))?;
        file.map(|file| self.writer(file)).transpose()
    }

    fn writer(&self, lock: File) -> Result<ImageWriter> {
        disk::remove_tree(&self.tmp())?;
        for directory in ["blobs", "blobs/sha256", "layers", "tmp"] {
            make_directory(&self.root.join(directory))?;
        }
        let writer = ImageWriter {
            store: self.clone(),
            _lock: lock,
        };
        writer.sweep()?;
        Ok(writer)
    }

    fn list_path(&self) -> PathBuf {
        self.root.join("images.json")
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
}

/// Not with its parents: a cluster that is removed meanwhile must not come back as an empty directory.
fn make_directory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    // Layers have set-uid programs that are not meant for the users of the host.
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).at("create", path),
        _ => Ok(()),
    }
}

/// The right to write; other writers wait while it lives.
#[derive(Debug)]
pub struct ImageWriter {
    store: ImageStore,
    _lock: File,
}

impl ImageWriter {
    /// What it writes to.
    pub fn store(&self) -> &ImageStore {
        &self.store
    }

    /// Is every blob and every unpacked layer of it there?
    pub fn has(&self, image: &LoadedImage) -> bool {
        image
            .blobs()
            .all(|blob| self.store.blob_path(&blob.digest).is_file())
            && image
                .layers
                .iter()
                .all(|layer| self.store.layer_path(&layer.chain_id).is_dir())
    }

    /// Takes blobs and layers of an image from another store: hard links, where that lies on the same file system.
    /// [`commit`](Self::commit) makes it known.
    ///
    /// # Errors
    /// When they are not there, or there is no space for copies.
    pub fn adopt(&self, from: &ImageStore, image: &LoadedImage) -> Result<()> {
        for blob in image.blobs() {
            let (source, target) = (
                from.blob_path(&blob.digest),
                self.store.blob_path(&blob.digest),
            );
            match fs::hard_link(&source, &target) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    let mut aside = self.file("adopted-")?;
                    let mut bytes = File::open(&source).at("open", &source)?;
                    io::copy(&mut bytes, &mut aside).at("copy", &source)?;
                    disk::persist(aside, &target)?;
                }
                linked => linked.at("link", &source)?,
            }
        }
        for layer in &image.layers {
            let source = from.layer_path(&layer.chain_id);
            let target = self.store.layer_path(&layer.chain_id);
            let none: [&str; 0] = [];
            vial_sys::tree::clone(&source, &target, &none)
                .map_err(|error| io::Error::new(error.source.kind(), error.line()))
                .at("link", &source)?;
        }
        Ok(())
    }

    /// Enters images into the list; those of the same names lose them. Returns the list as it was.
    ///
    /// # Errors
    /// When the list cannot be read or written.
    pub fn commit(&self, images: &[LoadedImage]) -> Result<Vec<LoadedImage>> {
        let before = self.store.images()?;
        let mut after = before.clone();
        after.retain(|old| images.iter().all(|new| new.name != old.name));
        after.extend(images.iter().cloned());
        self.replace(&after)?;
        Ok(before)
    }

    /// Makes the list what it was before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn replace(&self, images: &[LoadedImage]) -> Result<()> {
        let mut images = images.to_vec();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        let path = self.store.list_path();
        let bytes = serde_json::to_vec_pretty(&images).map_err(|source| Error::DamagedFile {
            path: path.clone(),
            source: source.into(),
        })?;
        // Not `write_atomically`, which would make the directories of a removed cluster anew.
        let mut file = self.file("list-")?;
        io::Write::write_all(&mut file, &bytes).at("write", &path)?;
        file.as_file().sync_all().at("sync", &path)?;
        Ok(disk::persist(file, &path)?)
    }

    /// Removes every blob and layer that no image of the list has.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        let images = self.store.images()?;
        let blobs: HashSet<&str> = images
            .iter()
            .flat_map(LoadedImage::blobs)
            .map(|blob| blob.digest.hex())
            .collect();
        let layers: HashSet<&str> = images
            .iter()
            .flat_map(|image| &image.layers)
            .map(|layer| layer.chain_id.hex())
            .collect();
        // Blobs first: on a full disk there is no room to make a directory before.
        for (path, name) in children(&self.store.root.join("blobs/sha256"))? {
            if !blobs.contains(name.as_str()) {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        for (path, name) in children(&self.store.root.join("layers"))? {
            if !layers.contains(name.as_str()) {
                // Renamed first: what is at its place is always whole.
                let aside = self.scratch("swept-")?.keep();
                fs::rename(&path, aside.join("layer")).at("rename", &path)?;
                disk::remove_tree(&aside)?;
            }
        }
        Ok(())
    }

    /// An empty directory on the store's file system; the next writer removes it if it is still there.
    pub(crate) fn scratch(&self, name: &str) -> Result<tempfile::TempDir, Error> {
        tempfile::Builder::new()
            .prefix(name)
            .tempdir_in(self.store.tmp())
            .at("create a directory in", self.store.tmp())
    }

    /// A new file on the store's file system.
    pub(super) fn file(&self, name: &str) -> Result<tempfile::NamedTempFile, Error> {
        tempfile::Builder::new()
            .prefix(name)
            .tempfile_in(self.store.tmp())
            .at("create a file in", self.store.tmp())
    }
}

fn children(directory: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let entries = fs::read_dir(directory).at("read", directory)?;
    entries
        .map(|entry| {
            let entry = entry.at("read", directory)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((entry.path(), name))
        })
        .collect()
}
