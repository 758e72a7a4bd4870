//! The node image store: an OCI image layout with its layers unpacked beside it.
//!
//! ```text
//! $VIAL_HOME/images/
//!   oci-layout  index.json       names and digests; replaced as a whole
//!   blobs/sha256/HEX             what can be pushed
//!   unpacked/HEX/                layer of that digest as a directory; made once, never changed
//!   unpacked/HEX.shape           mark of a complete directory
//!   machine/                     what virtual machines start from; see [`machine`](crate::machine)
//!   cache/layers/HEX.json        input digest → layer, so that unchanged layers are not made again
//!   tmp/                         what is in the making; emptied by the next writer
//!   .lock                        writers hold it (flock); readers need nothing
//! ```
//!
//! # States of an image
//! ```text
//!   blobs written ─► layers unpacked ─► index.json names it ─► retagged: without a name, kept while a cluster uses it ─► swept
//! ```
//! A process killed at any point leaves blobs and directories that are whole but not named yet: the next build finds
//! and uses them, the next sweep removes what nothing names.

mod read;
mod sweep;
mod transfer;
mod unpacked;
mod verify;
mod write;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::oci::{Descriptor, Index, REF_NAME};

pub use sweep::Swept;
pub(crate) use write::{LayerBlob, Writer, descriptor};

/// Annotation of an index entry: when the image came here, RFC 3339.
pub(crate) const CREATED_HERE: &str = "dev.vial.created";
/// Annotation of an index entry and label of a config: the Kubernetes version.
pub(crate) const KUBERNETES: &str = "dev.vial.kubernetes";
/// Label of a config: the Debian suite.
pub(crate) const SUITE: &str = "dev.vial.suite";
/// Label of a config: the components as JSON.
pub(crate) const COMPONENTS: &str = "dev.vial.components";

/// The node image store of one `$VIAL_HOME`. Cheap to clone; holds no file open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    home: PathBuf,
    root: PathBuf,
}

impl Store {
    /// Opens the store below `home`, making an empty one when there is none.
    pub fn open(home: &Path) -> Result<Self> {
        let store = Self {
            home: home.to_path_buf(),
            root: home.join("images"),
        };
        if !store.root.join("oci-layout").is_file() {
            for directory in ["blobs/sha256", "unpacked", "cache/layers", "tmp"] {
                let path = store.root.join(directory);
                fs::create_dir_all(&path).at("create", &path)?;
            }
            if !store.index_path().exists() {
                store.write_index(&Index::default())?;
            }
            disk::write_atomically(
                &store.root.join("oci-layout"),
                br#"{"imageLayoutVersion":"1.0.0"}"#,
            )?;
        }
        // Set-uid programs of a Debian that nobody updates: for nodes, not for the users of the host.
        let unpacked = store.root.join("unpacked");
        let open = unpacked.metadata().is_ok_and(|at| {
            at.mode() & 0o077 != 0 && at.uid() == rustix::process::geteuid().as_raw()
        });
        if open {
            fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o700))
                .at("set the mode of", &unpacked)?;
        }
        Ok(store)
    }

    /// `$VIAL_HOME/images`: every path of a [`NodeImage`](crate::NodeImage) lies below it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `$VIAL_HOME`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    pub(crate) fn index(&self) -> Result<Index> {
        let path = self.index_path();
        serde_json::from_slice(&disk::read(&path)?).map_err(|source| Error::DamagedFile {
            path,
            source: source.into(),
        })
    }

    fn write_index(&self, index: &Index) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(index).map_err(|source| Error::DamagedFile {
            path: self.index_path(),
            source: source.into(),
        })?;
        disk::write_atomically(&self.index_path(), &bytes)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn unpacked_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("unpacked").join(digest.hex())
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Waits for other writers, then keeps them away; removes what a killed writer left unfinished.
    pub(crate) fn lock(&self) -> Result<Writer> {
        let file = disk::lock(&self.root.join(".lock"))?;
        disk::remove_tree(&self.tmp())?;
        fs::create_dir_all(self.tmp()).at("create", self.tmp())?;
        Ok(Writer::new(self.clone(), file))
    }

    /// Does another process write at the moment?
    pub fn is_locked(&self) -> bool {
        use rustix::fs::{FlockOperation, flock};
        File::open(self.root.join(".lock"))
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    }
}

fn reference_of(descriptor: &Descriptor) -> String {
    descriptor
        .annotations
        .get(REF_NAME)
        .cloned()
        .unwrap_or_else(|| descriptor.digest.to_string())
}

#[cfg(test)]
pub(crate) mod testing {
    //! Images of two tiny layers, for the tests of this crate.

    use super::*;
    use crate::image::{ComponentRecord, Reference};

    pub(crate) fn store() -> (tempfile::TempDir, Store) {
        let home = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(home.path()).expect("a new store");
        (home, store)
    }

    pub(crate) fn image(store: &Store, reference: &str, content: &str) -> crate::NodeImage {
        let writer = store.lock().expect("the lock");
        let layer = |key: &str, path: &str, content: &str| {
            writer
                .layer(
                    &Digest::of(format!("{key}{content}").as_bytes()),
                    key,
                    |tar| {
                        tar.parents(path)?;
                        tar.file(path, 0o755, content.len() as u64, content.as_bytes())
                    },
                )
                .expect("a layer")
                .0
        };
        let layers = vec![
            layer("base", "etc/base", "shared"),
            layer("program", "usr/bin/program", content),
        ];
        let component = ComponentRecord {
            name: "program".into(),
            version: "v1".into(),
            source: "test".into(),
            sha256: Digest::of(content.as_bytes()).hex().into(),
            path: Some("/usr/bin/program".into()),
            modules: Vec::new(),
        };
        let reference: Reference = reference.parse().expect("a reference");
        writer
            .commit(&reference, "v1.36.3", "trixie", &[component], &layers)
            .expect("an image");
        drop(writer);
        store.find(&reference.to_string()).expect("the image")
    }
}
