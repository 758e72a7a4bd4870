//! From chosen and fetched packages to an OCI layout: the layer, kept or made now, and an image around it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::sync::mpsc::UnboundedSender;

use super::Built;
use super::settle::Settings;
use crate::debian::{self, Lock};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{IoContext as _, Result};
use crate::layer::{self, Compressed};
use crate::layout::{IMAGE_NAME, Layout};
use crate::load::ImageName;
use crate::oci::{self, RunConfig};

/// Increase when this folder makes something else of the same packages.
const VERSION: &str = "1";
/// How many layers are kept; the longest unused go first.
const KEPT: usize = 8;
/// A root file system and its layer take this many times the bytes of the packages.
const GROWTH: u64 = 8;

/// Everything that is known before anything is made.
pub(super) struct Build {
    /// Where fetched packages are.
    packages: PathBuf,
    inputs: Digest,
    root: PathBuf,
    lock: Lock,
    settings: Settings,
    run: RunConfig,
    name: ImageName,
}

impl Build {
    pub(super) fn new(
        home: &Path,
        lock: Lock,
        settings: Settings,
        run: RunConfig,
        name: ImageName,
    ) -> Self {
        Self {
            packages: home.join("cache/debian"),
            inputs: inputs(&lock, &settings),
            root: home.join("cache/debian-images"),
            lock,
            settings,
            run,
            name,
        }
    }

    /// Makes the image; says whether its layer was there. Blocking; another build is waited for.
    pub(super) fn make(self, tell: &UnboundedSender<debian::Progress>) -> Result<(Built, bool)> {
        fs::create_dir_all(&self.root).at("create", &self.root)?;
        let held = disk::lock(&self.root.join(".lock"))?;
        let tmp = self.root.join("tmp");
        disk::remove_tree(&tmp)?;
        fs::create_dir(&tmp).at("create", &tmp)?;
        let (layer, cached) = match self.cached() {
            Some(layer) => (layer, true),
            None => match self.layer(&tmp, tell) {
                Ok(layer) => (layer, false),
                Err(error) => {
                    // A full disk needs the space of what is half made; what stays now goes with the next build.
                    let _ = disk::remove_tree(&tmp);
                    return Err(error);
                }
            },
        };
        let directory = tempfile::tempdir_in(&tmp).at("create a directory in", &tmp)?;
        let mut layout = Layout::new(directory.path(), &[IMAGE_NAME, oci::REF_NAME])?;
        layout.existing(&self.file(), &layer)?;
        let size = layer.size;
        let digest = layout.image(&[self.name.to_string()], &self.run, &[layer])?;
        layout.finish()?;
        self.tidy();
        let built = Built {
            layout: directory,
            digest,
            size,
            packages: self.lock.packages.len(),
            _lock: held,
        };
        Ok((built, cached))
    }

    /// The layer that was made of the same inputs, if it is whole. It is used now, which keeps it.
    fn cached(&self) -> Option<Compressed> {
        let record = File::options()
            .read(true)
            .write(true)
            .open(self.record())
            .ok()?;
        let layer: Compressed = serde_json::from_reader(&record).ok()?;
        let (actual, _) = File::open(self.file()).and_then(Digest::of_reader).ok()?;
        // Only its turn to be removed comes sooner when this fails.
        let _ = record.set_modified(SystemTime::now());
        (actual == layer.digest).then_some(layer)
    }

    fn layer(&self, tmp: &Path, tell: &UnboundedSender<debian::Progress>) -> Result<Compressed> {
        disk::require_free(tmp, GROWTH * self.lock.download_size())?;
        let root = tmp.join("root");
        let report = |progress| {
            // Nobody listens any more: the build was given up.
            let _ = tell.send(progress);
        };
        debian::rootfs::build(&self.lock, &self.packages, &root, &report)?;
        for file in self.settings.files() {
            file.write(&root)?;
        }
        let aside = tempfile::NamedTempFile::new_in(tmp).at("create a file in", tmp)?;
        let layer = layer::compress(aside.as_file(), aside.path(), |tar| tar.tree("", &root))?;
        disk::remove_tree(&root)?;
        disk::persist(aside, &self.file())?;
        disk::write_atomically(&self.record(), &oci::to_bytes(&layer))?;
        Ok(layer)
    }

    fn file(&self) -> PathBuf {
        self.root.join(format!("{}.tar.zst", self.inputs.hex()))
    }

    fn record(&self) -> PathBuf {
        self.root.join(format!("{}.json", self.inputs.hex()))
    }

    /// Removes layers beyond those that are kept. Only space is lost when that fails.
    fn tidy(&self) {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut records: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .collect();
        records.sort_by(|a, b| b.cmp(a));
        for (_, record) in records.into_iter().skip(KEPT) {
            let _ = fs::remove_file(record.with_extension("tar.zst"));
            let _ = fs::remove_file(record);
        }
    }
}

/// Digest of all that decides the layer.
fn inputs(lock: &Lock, settings: &Settings) -> Digest {
    let mut hasher = Hasher::default();
    hasher.field(VERSION);
    hasher.field(lock.digest());
    for file in settings.files() {
        hasher.field(&file.path);
        hasher.field(&file.content);
    }
    hasher.finish()
}
