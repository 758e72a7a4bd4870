//! Layers: deterministic archives out, directories for overlayfs in.

mod compare;
mod unpack;
mod write;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use compare::{Difference, compare};
pub(crate) use unpack::{clean, safe_name, unpack};
pub(crate) use write::{EPOCH, OPAQUE, TarWriter};

use crate::digest::{Digest, HashingWriter};
use crate::error::{IoContext, Result};

/// OCI media type of the layers that vial writes.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A compression level at which the encoder keeps pace with the disk.
const LEVEL: i32 = 3;

/// The archive of a layer in the making.
pub(crate) type LayerTar<'a, 'f> =
    TarWriter<HashingWriter<zstd::Encoder<'a, HashingWriter<BufWriter<&'f File>>>>>;

/// A layer's archive, written and compressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compressed {
    /// Of the file.
    pub(crate) digest: Digest,
    /// Of the archive in it.
    pub(crate) diff_id: Digest,
    /// Bytes of the file.
    pub(crate) size: u64,
}

/// Writes the archive that `make` fills into `file` (at `path`, for messages) and syncs it.
pub(crate) fn compress(
    file: &File,
    path: &Path,
    make: impl FnOnce(&mut LayerTar<'_, '_>) -> Result<()>,
) -> Result<Compressed> {
    let out = HashingWriter::new(BufWriter::with_capacity(1 << 20, file));
    let encoder = zstd::Encoder::new(out, LEVEL).at("compress to", path)?;
    let mut tar = TarWriter::new(HashingWriter::new(encoder));
    make(&mut tar)?;
    let (encoder, diff_id, _) = tar.finish().at("write", path)?.finish();
    let (mut out, digest, size) = encoder.finish().at("write", path)?.finish();
    out.flush().at("write", path)?;
    file.sync_all().at("sync", path)?;
    Ok(Compressed {
        digest,
        diff_id,
        size,
    })
}
