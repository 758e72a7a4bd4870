//! From found images to blobs and unpacked layers in the store.
//!
//! Layers are independent of each other but for the directories that a layer mentions only as parents of its files:
//! overlayfs would take mode and owner of the upper one, so these are copied from below once all layers are unpacked, as
//! containerd does it (`pkg/archive/tar.go`, `mkparent`).

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::pieces::{Compression, Pieces, peek};
use super::understand::{Found, FoundLayer, Stated, verify};
use super::{Blob, ImageLayer, ImageWriter, LoadError, LoadedImage, Meter, Result};
use crate::digest::{Digest, HashingReader};
use crate::disk;
use crate::error::{Error, IoContext as _};
use crate::layer;
use crate::oci;

/// A layer that has to be read, whichever images have it.
struct Work<'a> {
    layer: &'a FoundLayer,
    chain_id: Digest,
    /// Is its directory missing?
    unpack: bool,
}

/// What became of it.
struct Done {
    blob: Blob,
    /// The unpacked directory, beside its place yet; and directories in it that only its files mentioned.
    unpacked: Option<(tempfile::TempDir, Vec<PathBuf>)>,
}

/// Stores and unpacks; what is returned is in nobody's list yet.
pub(super) fn ingest(
    writer: &ImageWriter,
    pieces: &Pieces,
    found: Vec<Found>,
    meter: &Meter,
) -> Result<Vec<LoadedImage>> {
    let mut work: BTreeMap<Digest, Work<'_>> = BTreeMap::new();
    for image in &found {
        let mut below = None;
        for layer in &image.layers {
            let chain_id = chain_id(below.as_ref(), &layer.diff_id);
            below = Some(chain_id.clone());
            work.entry(chain_id.clone()).or_insert_with(|| Work {
                unpack: !writer.store().layer_path(&chain_id).is_dir(),
                layer,
                chain_id,
            });
        }
    }
    let work: Vec<Work<'_>> = work.into_values().collect();
    require_space(writer, pieces, &work)?;
    let known = known(writer)?;
    for one in &work {
        let Some((_, size)) = pieces.reader(&one.layer.path)? else {
            return Err(missing(pieces, one.layer));
        };
        meter.expect(2 * size);
    }
    let mut done = in_parallel(&work, |one| layer(writer, pieces, one, &known, meter))?;

    let mut images = Vec::new();
    for image in found {
        let mut layers: Vec<ImageLayer> = Vec::new();
        for layer in &image.layers {
            let chain_id = chain_id(layers.last().map(|below| &below.chain_id), &layer.diff_id);
            let done = done
                .get_mut(&chain_id)
                .expect("every layer of every image is work");
            if let Some((directory, implicit)) = done.unpacked.take() {
                let below: Vec<PathBuf> = layers
                    .iter()
                    .rev()
                    .map(|layer| writer.store().layer_path(&layer.chain_id))
                    .collect();
                adopt(directory.path(), &implicit, &below)?;
                let place = writer.store().layer_path(&chain_id);
                fs::rename(directory.keep(), &place).at("rename to", &place)?;
            }
            layers.push(ImageLayer {
                blob: done.blob.clone(),
                diff_id: layer.diff_id.clone(),
                chain_id,
            });
        }
        let config = small(writer, &image.config)?;
        let manifest = match &image.manifest {
            Some(manifest) => small(writer, manifest)?,
            None => small(writer, &made_manifest(&config, &layers))?,
        };
        images.extend(image.names.into_iter().map(|name| LoadedImage {
            name,
            manifest: manifest.clone(),
            config: config.clone(),
            layers: layers.clone(),
            nodes: Vec::new(),
        }));
    }
    disk::sync_directory(
        &writer
            .store()
            .blob_path(&images[0].config.digest)
            .with_file_name(""),
    )?;
    Ok(images)
}

/// OCI image spec, "Layer ChainID".
fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    below.map_or_else(
        || diff_id.clone(),
        |below| Digest::of(format!("{below} {diff_id}").as_bytes()),
    )
}

/// Which blob is known to hold which layer.
fn known(writer: &ImageWriter) -> Result<HashSet<(Digest, Digest)>> {
    let images = writer.store().images()?;
    let layers = images.iter().flat_map(|image| &image.layers);
    Ok(layers
        .map(|layer| (layer.blob.digest.clone(), layer.diff_id.clone()))
        .collect())
}

/// At least as much as the blobs, and as much again for what is in them.
fn require_space(writer: &ImageWriter, pieces: &Pieces, work: &[Work<'_>]) -> Result<()> {
    let mut needed = 0;
    for one in work.iter().filter(|one| one.unpack) {
        let size = pieces.reader(&one.layer.path)?.map_or(0, |(_, size)| size);
        let copied = if pieces.spooled(&one.layer.path).is_some() {
            1
        } else {
            2
        };
        needed += copied * size;
    }
    let place = writer
        .store()
        .blob_path(&Digest::of(b""))
        .with_file_name("");
    Ok(disk::require_free(&place, needed)?)
}

fn missing(pieces: &Pieces, layer: &FoundLayer) -> LoadError {
    pieces.damaged(format!("layer `{}` is missing", layer.path.display()))
}

/// All of it, on as many threads as there are processors (four at most: the disk is one); the first failure ends it.
fn in_parallel<'a>(
    work: &'a [Work<'a>],
    with: impl Fn(&'a Work<'a>) -> Result<Done> + Sync,
) -> Result<BTreeMap<Digest, Done>> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(work.len()) {
            scope.spawn(|| {
                while let Some(one) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match with(one) {
                        Ok(done) => {
                            let mut results = results.lock().expect("no thread panics with it");
                            results.insert(one.chain_id.clone(), done);
                        }
                        Err(error) => {
                            next.store(work.len(), Ordering::Relaxed);
                            let mut failure = failure.lock().expect("no thread panics with it");
                            failure.get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner().expect("no thread panics with it") {
        Some(error) => Err(error),
        None => Ok(results.into_inner().expect("no thread panics with it")),
    }
}

/// Stores one layer's blob, and unpacks it where it is not known yet.
fn layer(
    writer: &ImageWriter,
    pieces: &Pieces,
    work: &Work<'_>,
    known: &HashSet<(Digest, Digest)>,
    meter: &Meter,
) -> Result<Done> {
    let found = work.layer;
    let (digest, size) = store(writer, pieces, found, meter)?;
    let path = writer.store().blob_path(&digest);
    let file = File::open(&path).at("open", &path)?;
    let mut reader = BufReader::with_capacity(1 << 20, meter.reading(file));
    let compression = Compression::of(&peek(&mut reader).at("read", &path)?);
    let media_type = match (&found.stated, compression) {
        (Some((media_type, ..)), _) => media_type.clone(),
        (None, None) => "application/vnd.oci.image.layer.v1.tar".to_owned(),
        (None, Some(Compression::Gzip)) => "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        (None, Some(Compression::Zstd)) => layer::MEDIA_TYPE.to_owned(),
        (None, Some(Compression::Xz)) => {
            return Err(pieces.damaged("a layer is compressed with xz, which nodes do not know"));
        }
    };
    let blob = Blob {
        media_type,
        digest,
        size,
    };
    if !work.unpack && known.contains(&(blob.digest.clone(), found.diff_id.clone())) {
        meter.add(size);
        return Ok(Done {
            blob,
            unpacked: None,
        });
    }
    let title = format!("layer {}", blob.digest.short());
    let bad =
        |error: io::Error| pieces.damaged(format!("{title}: {}", vial_sys::error_chain(&error)));
    let mut plain = HashingReader::new(match compression {
        None => Box::new(reader) as Box<dyn Read>,
        Some(compression) => compression.open(reader).map_err(bad)?,
    });
    let mut unpacked = None;
    if work.unpack {
        let directory = writer.scratch("layer-")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
            .at("set the mode of", directory.path())?;
        let implicit =
            layer::unpack(&title, &mut plain, directory.path()).map_err(|error| match error {
                Error::BadArchive { archive, reason } => {
                    pieces.damaged(format!("{archive}: {reason}"))
                }
                other => other.into(),
            })?;
        unpacked = Some((directory, implicit));
    }
    // Whatever follows the archive's end belongs to the digest.
    io::copy(&mut plain, &mut io::sink()).map_err(bad)?;
    verify(pieces, &found.diff_id, &plain.finish().0, "diff id")?;
    Ok(Done { blob, unpacked })
}

/// Copies a blob into the store, digested on the way.
fn store(
    writer: &ImageWriter,
    pieces: &Pieces,
    found: &FoundLayer,
    meter: &Meter,
) -> Result<(Digest, u64)> {
    let check = |digest: &Digest, size: u64| match &found.stated {
        Some((_, expected, length)) => {
            if *length != size {
                return Err(pieces.damaged(format!(
                    "layer {expected} has {size} bytes instead of {length}"
                )));
            }
            verify(pieces, expected, digest, "layer")
        }
        None => Ok(()),
    };
    if let Some(spool) = pieces.spooled(&found.path) {
        check(&spool.digest, spool.size)?;
        meter.add(spool.size);
        let place = writer.store().blob_path(&spool.digest);
        // Two layers of an image may be one file.
        if !place.exists() {
            let file = writer.file("blob-")?;
            fs::rename(&spool.path, file.path()).at("rename", &spool.path)?;
            let synced = File::open(file.path()).and_then(|file| file.sync_data());
            synced.at("sync", file.path())?;
            place_blob(file, &place)?;
        }
        return Ok((spool.digest, spool.size));
    }
    let Some((reader, size)) = pieces.reader(&found.path)? else {
        return Err(missing(pieces, found));
    };
    if let Some((_, digest, length)) = &found.stated
        && *length == size
        && present(writer, digest, size)
    {
        meter.add(size);
        return Ok((digest.clone(), size));
    }
    let mut file = writer.file("blob-")?;
    let mut reader = HashingReader::new(meter.reading(reader));
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = reader.read(&mut buffer).at("read", &found.path)?;
        if n == 0 {
            break;
        }
        file.write_all(&buffer[..n]).at("write", file.path())?;
    }
    let (digest, copied) = reader.finish();
    if copied != size {
        return Err(pieces.damaged("it was cut short"));
    }
    check(&digest, size)?;
    file.as_file().sync_data().at("sync", file.path())?;
    place_blob(file, &writer.store().blob_path(&digest))?;
    Ok((digest, size))
}

fn present(writer: &ImageWriter, digest: &Digest, size: u64) -> bool {
    let path = writer.store().blob_path(digest);
    path.metadata().is_ok_and(|metadata| metadata.len() == size)
}

/// As containerd has its blobs: for reading only.
fn place_blob(file: tempfile::NamedTempFile, place: &Path) -> Result<()> {
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o444))
        .at("set the mode of", place)?;
    file.persist(place)
        .map_err(|error| error.error)
        .at("rename a file to", place)?;
    Ok(())
}

fn small(writer: &ImageWriter, stated: &Stated) -> Result<Blob> {
    let digest = Digest::of(&stated.bytes);
    let size = stated.bytes.len() as u64;
    if !present(writer, &digest, size) {
        let mut file = writer.file("blob-")?;
        file.write_all(&stated.bytes).at("write", file.path())?;
        file.as_file().sync_data().at("sync", file.path())?;
        place_blob(file, &writer.store().blob_path(&digest))?;
    }
    Ok(Blob {
        media_type: stated.media_type.clone(),
        digest,
        size,
    })
}

/// The manifest of an image whose archive has none.
fn made_manifest(config: &Blob, layers: &[ImageLayer]) -> Stated {
    let descriptor = |blob: &Blob| oci::Descriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest.clone(),
        size: blob.size,
        annotations: oci::Map::new(),
    };
    let manifest = oci::Manifest {
        schema_version: 2,
        media_type: oci::MANIFEST.into(),
        config: descriptor(config),
        layers: layers.iter().map(|layer| descriptor(&layer.blob)).collect(),
        annotations: oci::Map::new(),
    };
    Stated {
        media_type: oci::MANIFEST.into(),
        bytes: oci::to_bytes(&manifest),
    }
}

/// Gives directories that a layer only passed through the mode and owner they have below it.
fn adopt(directory: &Path, implicit: &[PathBuf], below: &[PathBuf]) -> Result<()> {
    for path in implicit {
        let lower = below
            .iter()
            .find_map(|layer| layer.join(path).symlink_metadata().ok());
        if let Some(lower) = lower.filter(fs::Metadata::is_dir) {
            let own = directory.join(path);
            chown(&own, Some(lower.uid()), Some(lower.gid())).at("set the owner of", &own)?;
            fs::set_permissions(&own, fs::Permissions::from_mode(lower.mode() & 0o7777))
                .at("set the mode of", &own)?;
        }
    }
    Ok(())
}
