//! The image of the means by which pods are reached: the ssh server, and a busybox for images without a shell.
//!
//! ```text
//!  vial-means (program) ┐                                   ┌─ archive: for the registry of another cluster
//!  node image (busybox) ┴─► OCI layout, one layer, /vial-sshd ┤
//!                                                           └─ kept in the cache as an image store ──links──► clusters
//! ```
//! A cluster's copy is hard links, and so is a node's: the bytes are on disk once, whatever is made of them.
//!
//! # On disk
//! `$VIAL_HOME/cache/means`: an [`ImageStore`] with the latest of these images. It may be removed at any time.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use vial_means::{IMAGE_REPOSITORY, image_tag, program};

use crate::error::{IoContext as _, Result};
use crate::image::NodeImage;
use crate::layout::{self, IMAGE_NAME, Layout};
use crate::load::{self, ImageName, ImageStore, ImageWriter, LoadedImage, Meter, Source};
use crate::oci::{REF_NAME, RunConfig};
use crate::store::Store;

/// The images of a node image that have a busybox, which is static, as a file of its own.
const SNAPSHOTS: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";

/// Is it the image of the means, this one or one of another vial?
#[must_use]
pub fn is_means(name: &str) -> bool {
    let repository = name.rsplit_once(':').map(|(repository, _)| repository);
    repository == Some(IMAGE_REPOSITORY)
}

/// What the image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Means {
    busybox: Option<Vec<u8>>,
}

impl Means {
    /// The server with the busybox that came with a node image, where it has one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(image: &NodeImage) -> Result<Self> {
        let busybox = busybox(image).map(|path| crate::disk::read(&path));
        Ok(Self {
            busybox: busybox.transpose()?,
        })
    }

    /// The server with the busybox of any node image below `$VIAL_HOME` that can be read, else alone: only root can.
    #[must_use]
    pub fn of_any(home: &Path) -> Self {
        let found = || {
            // Nothing is made of a home that is not there.
            let there = home.join("images/oci-layout").is_file();
            let store = there.then(|| Store::open(home).ok()).flatten()?;
            let images = store.list().ok()?;
            images.iter().find_map(|image| {
                let means = Self::of(&store.find(&image.reference).ok()?).ok()?;
                means.busybox.is_some().then_some(means)
            })
        };
        found().unwrap_or_else(Self::alone)
    }

    /// The server alone.
    #[must_use]
    pub fn alone() -> Self {
        Self { busybox: None }
    }

    /// The shell for images without one.
    #[must_use]
    pub fn busybox(&self) -> Option<&[u8]> {
        self.busybox.as_deref()
    }

    /// What it is called; another content has another name.
    #[must_use]
    pub fn name(&self) -> ImageName {
        let tag = image_tag(self.busybox.as_deref());
        format!("{IMAGE_REPOSITORY}:{tag}")
            .parse()
            .expect("a repository's name and a tag of hexadecimal digits")
    }

    /// Writes it as an OCI archive, whole or not at all; to something else than a file as it comes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn archive(&self, path: &Path) -> Result<()> {
        let parent = crate::disk::directory_of(path);
        let aside = tempfile::Builder::new()
            .prefix(".tmp-")
            .tempdir_in(if path.is_file() || !path.exists() {
                parent.to_owned()
            } else {
                std::env::temp_dir()
            })
            .at("create a directory in", parent)?;
        self.write(aside.path())?;
        layout::write_archive(aside.path(), path)
    }

    /// Fills the cache, when that has another one: a second's work, after which [`enter`](Self::enter) takes no time.
    ///
    /// # Errors
    /// When there is no space.
    pub fn keep(&self, home: &Path) -> load::Result<()> {
        self.kept(home).map(drop)
    }

    /// Enters it into a cluster's list, with its files. The cache is filled first when it has another one.
    ///
    /// # Errors
    /// When there is no space, or the cluster is gone.
    pub fn enter(&self, home: &Path, writer: &ImageWriter) -> load::Result<LoadedImage> {
        let (kept, image) = self.kept(home)?;
        writer.adopt(kept.store(), &image)?;
        writer.commit(std::slice::from_ref(&image))?;
        Ok(image)
    }

    /// It in the cache, which stays locked as long as the first is held.
    fn kept(&self, home: &Path) -> load::Result<(ImageWriter, LoadedImage)> {
        let cache = home.join("cache");
        fs::create_dir_all(&cache).at("create", &cache)?;
        let writer = ImageStore::at(cache.join("means")).lock()?;
        let name = self.name();
        let found = writer.store().images()?;
        if let Some(image) = found.into_iter().find(|image| image.name == name)
            && writer.has(&image)
        {
            return Ok((writer, image));
        }
        let layout = writer.scratch("layout-")?;
        self.write(layout.path())?;
        let source = Source::Path(layout.path().to_path_buf());
        let loaded = load::load(&writer, &source, &[], &Meter::default())?;
        writer.replace(&loaded)?;
        writer.sweep()?;
        let [image] = loaded.as_slice() else {
            return Err(load::LoadError::Several {
                archive: source.to_string(),
                count: loaded.len(),
            });
        };
        Ok((writer, image.clone()))
    }

    /// Writes it as an OCI layout into a directory.
    fn write(&self, directory: &Path) -> Result<()> {
        let mut layout = Layout::new(directory, &[IMAGE_NAME, REF_NAME])?;
        let program = program();
        let layer = layout.layer(|tar| {
            let files = [
                ("vial-sshd", Some(&program)),
                ("busybox", self.busybox.as_ref()),
            ];
            for (name, bytes) in files {
                if let Some(bytes) = bytes {
                    tar.file(name, 0o755, bytes.len() as u64, Cursor::new(bytes))?;
                }
            }
            Ok(())
        })?;
        let run = RunConfig {
            entrypoint: vec!["/vial-sshd".into()],
            ..RunConfig::default()
        };
        layout.image(&[self.name().to_string()], &run, &[layer])?;
        layout.finish()
    }
}

/// The busybox among a node image's container images: that of the image of this name, unpacked.
fn busybox(image: &NodeImage) -> Option<PathBuf> {
    let snapshots = image.containerd_root().join(SNAPSHOTS);
    let entries = fs::read_dir(snapshots).ok()?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path().join("fs/bin/busybox"))
        .filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_file()))
        .collect();
    // They are all the same; the choice must not depend on the order of a directory.
    found.sort();
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_busybox() -> Means {
        Means {
            busybox: Some(b"a shell".to_vec()),
        }
    }

    fn cluster(home: &Path, name: &str) -> ImageWriter {
        fs::create_dir_all(home.join(name)).unwrap();
        ImageStore::at(home.join(name).join("images"))
            .lock()
            .unwrap()
    }

    #[test]
    fn two_clusters_share_every_byte() {
        use std::os::unix::fs::MetadataExt as _;
        let home = tempfile::tempdir().unwrap();
        let means = with_busybox();
        let inodes = ["a", "b"].map(|name| {
            let writer = cluster(home.path(), name);
            let image = means.enter(home.path(), &writer).unwrap();
            assert_eq!(image.name, means.name());
            assert!(is_means(image.name.as_str()));
            assert_eq!(
                writer.store().images().unwrap().as_slice(),
                std::slice::from_ref(&image)
            );
            let layer = writer.store().layer_path(&image.layers[0].chain_id);
            assert_eq!(fs::read(layer.join("busybox")).unwrap(), b"a shell");
            let paths = [
                layer.join("vial-sshd"),
                writer.store().blob_path(&image.layers[0].blob.digest),
            ];
            paths.map(|path| fs::metadata(path).unwrap().ino())
        });
        assert_eq!(inodes[0], inodes[1]);
    }

    #[test]
    fn it_is_entered_again_and_beside_others() {
        let home = tempfile::tempdir().unwrap();
        let writer = cluster(home.path(), "a");
        let first = Means::alone().enter(home.path(), &writer).unwrap();
        assert_eq!(Means::alone().enter(home.path(), &writer).unwrap(), first);
        with_busybox().enter(home.path(), &writer).unwrap();
        // Pods that were made before go on needing the first one.
        assert_eq!(writer.store().images().unwrap().len(), 2);
        writer.sweep().unwrap();
        assert!(writer.has(&first));
    }

    #[test]
    fn a_cache_that_was_emptied_is_filled_again() {
        let home = tempfile::tempdir().unwrap();
        let writer = cluster(home.path(), "a");
        let first = Means::alone().enter(home.path(), &writer).unwrap();
        for rest in ["layers", "blobs"] {
            fs::remove_dir_all(home.path().join("cache/means").join(rest)).unwrap();
            let writer = cluster(home.path(), rest);
            let again = Means::alone().enter(home.path(), &writer).unwrap();
            assert_eq!(again, first);
            assert!(writer.has(&again));
        }
    }

    #[test]
    fn an_archive_is_an_image_that_can_be_loaded() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("sshd.tar");
        let means = with_busybox();
        means.archive(&path).unwrap();
        let writer = cluster(home.path(), "a");
        let source = Source::Path(path);
        let loaded = load::load(&writer, &source, &[], &Meter::default()).unwrap();
        assert_eq!(loaded[0].name, means.name());
        let entered = means.enter(home.path(), &writer).unwrap();
        assert_eq!(entered.config.digest, loaded[0].config.digest);
    }
}
