//! What was pulled from public registries, kept for all clusters of the machine.
//!
//! ```text
//! cache/registry/
//!   blobs/sha256/HEX                  manifests, configurations, layers; verified before they are here
//!   tags/REGISTRY/NAME/_/TAG          the digest that the tag had when it was last asked
//!   incoming/…                        what is being pulled
//! ```
//! Every keeper writes here, without a lock: files are made aside and renamed, and two of one digest are the same.
//! Whoever reads a file that is removed goes on reading it. When a file is used its time is set: the oldest go first.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;
use vial_engine::paths::private_dir;
use vial_image::{Digest, Hasher};

use super::request::Repository;

/// Nobody pulls one blob for so long: its keeper died.
const GIVEN_UP: Duration = Duration::from_secs(24 * 60 * 60);

/// The directory, and how many bytes may be in it.
pub(super) struct Cache {
    root: PathBuf,
    bound: u64,
}

/// What came is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{found} came instead of {wanted}")]
pub(super) struct Mismatch {
    wanted: Digest,
    found: Digest,
}

impl Cache {
    pub(super) fn new(root: PathBuf, bound: u64) -> Self {
        Self { root, bound }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// A blob that is here, and its size.
    pub(super) fn find(&self, digest: &Digest) -> Option<(File, u64)> {
        let file = File::open(self.blob(digest)).ok()?;
        let size = file.metadata().ok()?.len();
        // Whether it can be set says nothing about the blob: it is only removed earlier.
        let _ = file.set_modified(SystemTime::now());
        Some((file, size))
    }

    /// A blob that is here, whole, unless it is larger than `most`.
    pub(super) fn read(&self, digest: &Digest, most: u64) -> Option<Vec<u8>> {
        let (mut file, size) = self.find(digest).filter(|(_, size)| *size <= most)?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).ok()?);
        file.read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn tag_file(&self, repository: &Repository, tag: &str) -> PathBuf {
        // No part of a name is `_`, so a tag's file is never another name's directory.
        let names = self.root.join("tags").join(repository.registry());
        names.join(repository.name()).join("_").join(tag)
    }

    /// What the tag was when it was last asked.
    pub(super) fn tag(&self, repository: &Repository, tag: &str) -> Option<Digest> {
        let text = fs::read_to_string(self.tag_file(repository, tag)).ok()?;
        text.trim_end().parse().ok()
    }

    /// The tag was asked, and is this.
    pub(super) fn set_tag(
        &self,
        repository: &Repository,
        tag: &str,
        digest: &Digest,
    ) -> io::Result<()> {
        let path = self.tag_file(repository, tag);
        private_dir(path.parent().unwrap_or(&self.root))?;
        let mut aside = self.aside()?;
        writeln!(aside, "{digest}")?;
        aside.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    fn aside(&self) -> io::Result<NamedTempFile> {
        let dir = self.root.join("incoming");
        private_dir(&dir)?;
        NamedTempFile::new_in(dir)
    }

    /// Begins a blob. Where the disk does not take it, it is not kept, and that is all.
    pub(super) fn begin(&self) -> Incoming<'_> {
        let file = self.aside().map_err(|error| not_kept(&error)).ok();
        Incoming {
            cache: self,
            file,
            hasher: Hasher::default(),
            size: 0,
        }
    }

    /// Removes what was used longest ago until the rest is within the bound.
    fn shrink(&self) -> io::Result<()> {
        let mut blobs = Vec::new();
        for entry in fs::read_dir(self.root.join("blobs/sha256"))?.flatten() {
            // Another keeper may remove it meanwhile.
            if let Ok(facts) = entry.metadata() {
                blobs.push((facts.modified()?, facts.len(), entry.path()));
            }
        }
        blobs.sort();
        let mut all: u64 = blobs.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in blobs {
            if all <= self.bound {
                break;
            }
            let _ = fs::remove_file(path);
            all -= size;
        }
        for entry in fs::read_dir(self.root.join("incoming"))?.flatten() {
            let age = entry.metadata().and_then(|facts| facts.modified());
            if age.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > GIVEN_UP)) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// A blob that comes. Dropped, nothing of it is left.
pub(super) struct Incoming<'a> {
    cache: &'a Cache,
    /// While it is to be kept.
    file: Option<NamedTempFile>,
    hasher: Hasher,
    size: u64,
}

impl Incoming<'_> {
    /// More of it.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        if self.size > self.cache.bound {
            self.file = None;
        }
        if let Some(file) = &mut self.file
            && let Err(error) = file.write_all(bytes)
        {
            not_kept(&error);
            self.file = None;
        }
    }

    /// That was all of it: kept if it is what was wanted.
    pub(super) fn finish(self, wanted: &Digest) -> Result<(), Mismatch> {
        let found = self.hasher.finish();
        if found != *wanted {
            let wanted = wanted.clone();
            return Err(Mismatch { wanted, found });
        }
        let Some(file) = self.file else { return Ok(()) };
        let path = self.cache.blob(wanted);
        let kept = private_dir(path.parent().unwrap_or(&self.cache.root))
            .and_then(|()| file.persist(&path).map_err(|error| error.error))
            .and_then(|_| self.cache.shrink());
        if let Err(error) = kept {
            not_kept(&error);
        }
        Ok(())
    }
}

fn not_kept(error: &io::Error) {
    tracing::warn!(%error, "cannot keep what was pulled");
}

#[cfg(test)]
mod tests {
    use super::super::request::Wanted;
    use super::*;

    fn cache(bound: u64) -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("registry"), bound);
        (dir, cache)
    }

    fn keep(cache: &Cache, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut incoming = cache.begin();
        bytes.chunks(3).for_each(|part| incoming.write(part));
        incoming.finish(&digest).unwrap();
        digest
    }

    fn incoming(cache: &Cache) -> usize {
        fs::read_dir(cache.root.join("incoming")).unwrap().count()
    }

    #[test]
    fn what_is_kept_is_found_and_of_what_is_wrong_or_cut_nothing_stays() {
        let (_dir, cache) = cache(1000);
        let digest = keep(&cache, b"a layer");
        assert_eq!(cache.read(&digest, 100).unwrap(), b"a layer");
        assert_eq!(cache.read(&digest, 3), None, "larger than wanted");

        let other = Digest::of(b"another");
        let mut wrong = cache.begin();
        wrong.write(b"something else");
        let error = wrong.finish(&other).unwrap_err().to_string();
        assert!(error.ends_with(&format!("instead of {other}")), "{error}");
        let mut cut = cache.begin();
        cut.write(b"anoth");
        drop(cut);
        assert!(cache.find(&other).is_none());
        assert_eq!(incoming(&cache), 0);
    }

    #[test]
    fn the_longest_unused_go_first() {
        let (_dir, cache) = cache(20);
        let long_ago = |digest: &Digest, seconds| {
            let file = File::options().write(true).open(cache.blob(digest));
            let time = SystemTime::now() - Duration::from_secs(seconds);
            file.unwrap().set_modified(time).unwrap();
        };
        let (first, second) = (keep(&cache, &[1; 8]), keep(&cache, &[2; 8]));
        long_ago(&first, 200);
        long_ago(&second, 100);
        // Used again: now the second one is the oldest.
        cache.find(&first).unwrap();
        let third = keep(&cache, &[3; 8]);
        assert!(cache.find(&first).is_some() && cache.find(&third).is_some());
        assert!(cache.find(&second).is_none());
        let large = keep(&cache, &[4; 21]);
        assert!(cache.find(&large).is_none(), "more than all may be");
        assert!(cache.find(&first).is_some());
        assert_eq!(incoming(&cache), 0);
    }

    #[test]
    fn tags_are_remembered_by_registry_name_and_tag() {
        let (_dir, cache) = cache(1000);
        let repository = |registry, name: &str| {
            let path = format!("/v2/{name}/manifests/latest");
            Wanted::parse(&path, registry).unwrap().repository
        };
        // A name whose last part is a tag of the name above it.
        let (a, ab) = (repository("docker.io", "a"), repository("docker.io", "a/b"));
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        cache.set_tag(&a, "b", &one).unwrap();
        cache.set_tag(&ab, "b", &two).unwrap();
        assert_eq!(cache.tag(&a, "b"), Some(one));
        assert_eq!(cache.tag(&ab, "b"), Some(two.clone()));
        cache.set_tag(&a, "b", &two).unwrap();
        assert_eq!(cache.tag(&a, "b"), Some(two), "the tag moved");
        assert_eq!(cache.tag(&repository("quay.io", "a"), "b"), None);
        assert_eq!(cache.tag(&a, "c"), None);
    }
}
