//! Node images from one store to another: written as an OCI archive, read from an archive or a layout.
//!
//! A store is an OCI layout itself, so one can be read from another (`/var/lib/vial/images`), by whoever may read it.
//! That is how an ordinary user comes to a node image: only root can build one.
//!
//! ```text
//!  store ─ save ─► archive: oci-layout, index.json, blobs ┐
//!  another store, a layout ───────────────────────────────┴─ load ─► blobs verified ─► layers unpacked ─► named
//! ```
//! # On failure
//! No image has a name that it had not before. Blobs and layers that are whole stay for the next attempt, or for a sweep.

use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;

use super::read::{LAYER_TITLE, length};
use super::{KUBERNETES, LayerBlob, Store, Writer, reference_of};
use crate::digest::{Digest, HashingWriter};
use crate::disk;
use crate::error::{Error, IoContext as _, Result};
use crate::image::Reference;
use crate::layout;
use crate::load::pieces::Pieces;
use crate::load::{LoadError, Meter, Source};
use crate::oci::{self, Descriptor, ImageConfig, Index, Manifest, Map, REF_NAME};
/// An image of a layout, on its way into the store.
struct Incoming {
    reference: Reference,
    kubernetes: String,
    entry: Descriptor,
    manifest: Manifest,
    config: ImageConfig,
}

impl Store {
    /// Writes images as an OCI archive, whole or not at all; to something else than a file (`/dev/stdout`) as it comes.
    /// Blobs are compressed already, and the archive is not.
    ///
    /// # Errors
    /// When there is no such image, or the archive cannot be written.
    pub fn save(&self, references: &[String], path: &Path) -> Result<()> {
        let index = self.index()?;
        let mut saved = Index::default();
        let mut blobs = Vec::new();
        for reference in references {
            let mut entry = self.resolve(&index, reference)?;
            let name = reference_of(&entry);
            let manifest = self.manifest(&name, &entry)?;
            for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
                self.check_size(&name, &part.digest, part.size)?;
                blobs.push(part.digest.hex().to_owned());
            }
            blobs.push(entry.digest.hex().to_owned());
            // When it came here is nobody else's business.
            entry.annotations.retain(|key, _| key == REF_NAME);
            saved.manifests.push(entry);
        }
        blobs.sort();
        blobs.dedup();
        layout::write_part(self.root(), &oci::to_bytes(&saved), &blobs, path)
    }

    /// Brings the node images of an archive or a layout into the store: those that are `wanted`, by name or digest, or
    /// all. Returns their names. Blocking; takes some seconds for each gigabyte, and the writers' lock.
    ///
    /// # Errors
    /// When one of them is not there or damaged, when there is none, or no space. None of them has a name then.
    pub fn load(
        &self,
        source: &Source,
        wanted: &[String],
        meter: &Meter,
    ) -> Result<Vec<Reference>, LoadError> {
        let writer = self.lock()?;
        let pieces = Pieces::open(source, writer.scratch("load-")?, meter)?;
        let images = incoming(&pieces, wanted)?;
        let mut needed = 0;
        for image in &images {
            needed += image.parts().map(|part| part.size).sum::<u64>();
        }
        meter.expect(needed);
        for image in &images {
            writer.take(&pieces, image, meter)?;
        }
        for image in &images {
            let (reference, kubernetes) = (&image.reference, &image.kubernetes);
            writer.name(reference, kubernetes, image.entry.clone())?;
        }
        Ok(images.into_iter().map(|image| image.reference).collect())
    }
}

impl Incoming {
    fn parts(&self) -> impl Iterator<Item = &Descriptor> {
        let small = [&self.entry, &self.manifest.config];
        small.into_iter().chain(&self.manifest.layers)
    }

    fn layers(&self) -> impl Iterator<Item = LayerBlob> {
        let diff_ids = self.config.rootfs.diff_ids.iter();
        let layers = self.manifest.layers.iter().zip(diff_ids);
        layers.map(|(layer, diff_id)| LayerBlob {
            digest: layer.digest.clone(),
            diff_id: diff_id.clone(),
            media_type: layer.media_type.clone(),
            size: layer.size,
            title: layer
                .annotations
                .get(LAYER_TITLE)
                .cloned()
                .unwrap_or_default(),
        })
    }
}

impl Writer {
    /// Stores and unpacks what an image consists of.
    fn take(&self, pieces: &Pieces, image: &Incoming, meter: &Meter) -> Result<(), LoadError> {
        for part in image.parts() {
            self.take_blob(pieces, part, meter)?;
        }
        for layer in image.layers() {
            self.unpack(&image.reference.to_string(), &self.located(&layer))?;
        }
        Ok(())
    }

    fn take_blob(
        &self,
        pieces: &Pieces,
        part: &Descriptor,
        meter: &Meter,
    ) -> Result<(), LoadError> {
        let place = self.store().blob_path(&part.digest);
        if length(&place) == Some(part.size) {
            meter.add(part.size);
            return Ok(());
        }
        disk::require_free(self.store().root(), part.size)?;
        let path = blob(part);
        let Some((reader, _)) = pieces.reader(Path::new(&path))? else {
            return Err(pieces.damaged(format!("it has no `{path}`")));
        };
        let tmp = self.store().tmp();
        let file = tempfile::Builder::new()
            .prefix("blob-")
            .tempfile_in(&tmp)
            .at("create a file in", &tmp)?;
        let buffered = BufWriter::with_capacity(1 << 20, file.as_file());
        let mut out = HashingWriter::new(buffered);
        // One byte more than it should have is one too many.
        let mut reader = meter.reading(reader.take(part.size + 1));
        io::copy(&mut reader, &mut out).at("copy", &path)?;
        let (mut out, actual, _) = out.finish();
        out.flush().at("write", &place)?;
        drop(out);
        if actual != part.digest {
            return Err(pieces.damaged(format!("`{path}` has digest {actual}")));
        }
        file.as_file().sync_all().at("sync", &place)?;
        Ok(disk::persist(file, &place)?)
    }
}

/// The node images that are wanted of a layout.
fn incoming(pieces: &Pieces, wanted: &[String]) -> Result<Vec<Incoming>, LoadError> {
    let none = |reason: &str| LoadError::NotImages {
        archive: pieces.name().to_owned(),
        reason: reason.into(),
    };
    let index: Index = pieces
        .json("index.json")?
        .ok_or_else(|| none("it is no OCI layout: it has no index.json"))?;
    let all = index.manifests;
    let chosen: Vec<Descriptor> = if wanted.is_empty() {
        // Images that lost their name to newer ones are nobody's any more.
        let named = |entry: &Descriptor| entry.annotations.contains_key(REF_NAME);
        all.into_iter().filter(named).collect()
    } else {
        let find = |text: &String| find(&all, text).cloned();
        wanted.iter().map(find).collect::<Result<_>>()?
    };
    let images = chosen
        .into_iter()
        .filter_map(|entry| node_image(pieces, entry).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    if images.is_empty() {
        return Err(none("none of its images is a node image of vial"));
    }
    Ok(images)
}

fn find<'a>(all: &'a [Descriptor], text: &str) -> Result<&'a Descriptor> {
    let wanted = match text.parse::<Digest>() {
        Ok(digest) => digest.to_string(),
        Err(_) => text.parse::<Reference>()?.to_string(),
    };
    let is_it =
        |entry: &&Descriptor| reference_of(entry) == wanted || entry.digest.to_string() == wanted;
    all.iter().find(is_it).ok_or_else(|| Error::NotInside {
        reference: wanted.clone(),
        there: all.iter().map(reference_of).collect(),
    })
}

/// `None` for images of other kinds.
fn node_image(pieces: &Pieces, entry: Descriptor) -> Result<Option<Incoming>, LoadError> {
    let named = reference_of(&entry);
    let manifest: Manifest = verified(pieces, &entry)?;
    let config: ImageConfig = verified(pieces, &manifest.config)?;
    let Some(kubernetes) = config.config.labels.get(KUBERNETES).cloned() else {
        return Ok(None);
    };
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(pieces.damaged(format!(
            "`{named}` does not have one diff id for each layer"
        )));
    }
    Ok(Some(Incoming {
        // One without a name was asked for by its digest: it gets the name of its version.
        reference: match entry.annotations.get(REF_NAME) {
            Some(name) => name.parse()?,
            None => format!(
                "{}:{kubernetes}",
                vial_spec::defaults::NODE_IMAGE_REPOSITORY
            )
            .parse()?,
        },
        kubernetes,
        entry: Descriptor {
            annotations: Map::new(),
            ..entry
        },
        manifest,
        config,
    }))
}

/// A small blob that is what its digest says.
fn verified<T: serde::de::DeserializeOwned>(
    pieces: &Pieces,
    part: &Descriptor,
) -> Result<T, LoadError> {
    let path = blob(part);
    let Some(bytes) = pieces.small(&path)? else {
        return Err(pieces.damaged(format!("it has no `{path}`")));
    };
    let actual = Digest::of(&bytes);
    if actual != part.digest {
        return Err(pieces.damaged(format!("`{path}` has digest {actual}")));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| pieces.damaged(format!("`{path}` is unreadable: {error}")))
}

fn blob(part: &Descriptor) -> String {
    format!("blobs/sha256/{}", part.digest.hex())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::testing::{image, store};
    use super::*;

    fn load(store: &Store, path: &Path, wanted: &[&str]) -> Result<Vec<String>, LoadError> {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let source = Source::Path(path.to_path_buf());
        let names = store.load(&source, &wanted, &Meter::default())?;
        Ok(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_saved_image_is_the_same_in_another_store() {
        let ((_a, from), (here, to)) = (store(), store());
        let made = image(&from, "a:1", "x");
        image(&from, "a:2", "y");
        let archive = here.path().join("node.tar");
        from.save(&["a:1".to_owned()], &archive).unwrap();
        assert_eq!(load(&to, &archive, &[]).unwrap(), ["a:1"]);
        let loaded = to.ready("a:1").unwrap();
        assert_eq!(loaded.digest, made.digest);
        assert_eq!(loaded.components, made.components);
        to.verify("a:1").unwrap();
        assert!(to.find("a:2").is_err());
        // Again: everything is there.
        assert_eq!(load(&to, &archive, &[]).unwrap(), ["a:1"]);
        assert_eq!(to.list().unwrap().len(), 1);
    }

    #[test]
    fn another_store_is_read_where_it_is() {
        let ((_a, from), (_b, to)) = (store(), store());
        let made = image(&from, "a:1", "x");
        image(&from, "a:2", "y");
        assert_eq!(load(&to, from.root(), &["a:1"]).unwrap(), ["a:1"]);
        assert_eq!(to.find("a:1").unwrap().digest, made.digest);
        assert_eq!(load(&to, from.root(), &[]).unwrap(), ["a:1", "a:2"]);
    }

    #[test]
    fn what_is_not_in_it_is_told_with_what_is() {
        let ((_a, from), (_b, to)) = (store(), store());
        image(&from, "a:1", "x");
        let error = load(&to, from.root(), &["a:1", "b"]).unwrap_err();
        assert!(error.to_string().contains("`b:latest`"), "{error}");
        assert!(to.list().unwrap().is_empty());
    }

    #[test]
    fn a_changed_byte_is_refused_and_nothing_gets_a_name() {
        let ((_a, from), (_b, to)) = (store(), store());
        let made = image(&from, "a:1", "x");
        let blob = from.blob_path(&made.layers[1].digest);
        let mut bytes = fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&blob, bytes).unwrap();
        let error = load(&to, from.root(), &[]).unwrap_err();
        assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
        assert!(to.list().unwrap().is_empty());
    }
}
