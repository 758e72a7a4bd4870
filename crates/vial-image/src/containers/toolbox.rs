//! The toolbox: the Debian root file system that debugging images stand on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::disk;
use crate::error::{IoContext, Result};
use crate::layer::{self, Compressed};
use crate::oci;

/// The toolbox's root file system as a layer, kept beside the store because every Kubernetes version needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Toolbox {
    pub(super) digest: Digest,
    pub(super) diff_id: Digest,
    pub(super) size: u64,
    #[serde(skip)]
    pub(super) file: PathBuf,
}

impl Toolbox {
    /// Makes it of the root file system in `root`, and keeps it in `cache` under `inputs`.
    pub(crate) fn make(cache: &Path, inputs: &Digest, root: &Path) -> Result<Self> {
        fs::create_dir_all(cache).at("create", cache)?;
        let aside = tempfile::Builder::new()
            .prefix(".tmp-")
            .tempfile_in(cache)
            .at("create a file in", cache)?;
        let Compressed {
            digest,
            diff_id,
            size,
        } = layer::compress(aside.as_file(), aside.path(), |tar| tar.tree("", root))?;
        let file = Self::file(cache, inputs);
        disk::persist(aside, &file)?;
        let toolbox = Self {
            digest,
            diff_id,
            size,
            file,
        };
        disk::write_atomically(&Self::record(cache, inputs), &oci::to_bytes(&toolbox))?;
        Ok(toolbox)
    }

    /// Removes what a killed build left and toolboxes of older packages.
    pub(crate) fn tidy(cache: &Path, inputs: &Digest) {
        for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
            if !entry
                .file_name()
                .to_string_lossy()
                .starts_with(inputs.hex())
            {
                // Only space is lost when it stays.
                let _ = if entry.path().is_dir() {
                    fs::remove_dir_all(entry.path())
                } else {
                    fs::remove_file(entry.path())
                };
            }
        }
    }

    /// The one made from these inputs, if it is there.
    pub(crate) fn cached(cache: &Path, inputs: &Digest) -> Option<Self> {
        let mut toolbox: Self =
            serde_json::from_slice(&fs::read(Self::record(cache, inputs)).ok()?).ok()?;
        toolbox.file = Self::file(cache, inputs);
        let (actual, _) = File::open(&toolbox.file).and_then(Digest::of_reader).ok()?;
        (actual == toolbox.digest).then_some(toolbox)
    }

    fn file(cache: &Path, inputs: &Digest) -> PathBuf {
        cache.join(format!("{}.tar.zst", inputs.hex()))
    }

    fn record(cache: &Path, inputs: &Digest) -> PathBuf {
        cache.join(format!("{}.json", inputs.hex()))
    }

    /// Small files of it, by path.
    pub(super) fn read(&self, wanted: &[&str]) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let file = File::open(&self.file).at("open", &self.file)?;
        let mut archive = tar::Archive::new(zstd::Decoder::new(file).at("decompress", &self.file)?);
        for entry in archive.entries().at("read", &self.file)? {
            let mut entry = entry.at("read", &self.file)?;
            let name = entry.path().at("read", &self.file)?.display().to_string();
            if wanted.contains(&name.as_str()) {
                let mut text = String::new();
                entry.read_to_string(&mut text).at("read", &self.file)?;
                found.insert(name, text);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn toolbox(cache: &Path, inputs: &Digest) -> Toolbox {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        Toolbox::make(cache, inputs, root.path()).unwrap()
    }

    #[test]
    fn a_kept_toolbox_is_used_while_it_is_whole() {
        let cache = tempfile::tempdir().unwrap();
        let inputs = Digest::of(b"inputs");
        assert!(Toolbox::cached(cache.path(), &inputs).is_none());
        let made = toolbox(cache.path(), &inputs);
        assert_eq!(
            Toolbox::cached(cache.path(), &inputs).unwrap().digest,
            made.digest
        );
        let mut bytes = fs::read(&made.file).unwrap();
        bytes[10] ^= 1;
        fs::write(&made.file, bytes).unwrap();
        assert!(Toolbox::cached(cache.path(), &inputs).is_none());
        Toolbox::tidy(cache.path(), &Digest::of(b"others"));
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn small_files_of_it_can_be_read() {
        let cache = tempfile::tempdir().unwrap();
        let made = toolbox(cache.path(), &Digest::of(b"inputs"));
        let found = made.read(&["etc/passwd", "etc/group"]).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found["etc/passwd"].starts_with("root:"));
    }
}
