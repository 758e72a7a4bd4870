//! Files of the image store under a node's containerd root: hard links, so that all nodes have one copy.
//!
//! Links are safe because nothing of it is ever written: containerd replaces blobs by rename, and snapshots of layers are
//! lower directories of overlays. Where there are no links between the two, files are copied.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Puts a blob into a content store's directory (containerd's plugins/content/local); fine when it is there.
pub(super) fn blob(source: &Path, root: &Path, hex: &str) -> Result<()> {
    let target = root
        .join("io.containerd.content.v1.content/blobs/sha256")
        .join(hex);
    let linked = match fs::hard_link(source, &target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let aside = target.with_extension("vial");
            fs::copy(source, &aside).and_then(|_| fs::rename(&aside, &target))
        }
        linked => linked,
    };
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::file("link a blob to", &target)(error))
        }
        _ => Ok(()),
    }
}

/// Fills a snapshot's empty directory with an unpacked layer.
pub(super) fn layer(source: &Path, snapshot: &Path) -> Result<()> {
    // Beside it first: containerd removes all that is beside it with the snapshot.
    let mut aside = snapshot.as_os_str().to_owned();
    aside.push(".vial");
    let aside = PathBuf::from(aside);
    let failed = |error| Error::file("link a layer to", snapshot)(error);
    let none: [&str; 0] = [];
    vial_sys::tree::clone(source, &aside, &none)
        .map_err(|error| failed(io::Error::new(error.source.kind(), error.line())))?;
    fs::rename(&aside, snapshot).map_err(failed)
}
