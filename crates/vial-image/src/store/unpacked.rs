//! Unpacked layers: the directories that nodes run from, and whether they are whole.
//!
//! ```text
//!   unpacked/HEX/         the directory
//!   unpacked/HEX.shape    its mark: written when the directory is complete
//!   unpacked/HEX.bad-N/   a directory that was damaged while a cluster may have used it; a sweep removes it
//!
//!   absent ──unpack──► directory ──mark──► whole ──shape differs, or no mark──► set aside, unpacked anew
//! ```
//! The mark is a digest of every path, kind, mode, owner and size, which takes some hundredths of a second to compare:
//! it finds what a crash leaves (files that are empty, cut short or missing) at every `vial up`. What changes bytes in
//! place is found by [`Store::verify`], which takes the mark away then, so that the next use unpacks anew.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Store, Writer};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{IoContext, Result};

impl Store {
    /// Where the mark of an unpacked layer is.
    fn mark(&self, layer: &Digest) -> PathBuf {
        self.unpacked_path(layer).with_extension("shape")
    }

    /// Is the layer's directory there, and as it was when it was complete?
    pub(super) fn is_whole(&self, layer: &Digest) -> bool {
        let Ok(mark) = fs::read_to_string(self.mark(layer)) else {
            return false;
        };
        shape(&self.unpacked_path(layer)).is_ok_and(|shape| shape.as_str() == mark)
    }
}

impl Writer {
    /// Says that the layer's directory is complete.
    pub(super) fn mark_whole(&self, layer: &Digest) -> Result<()> {
        let path = self.store().unpacked_path(layer);
        let shape = shape(&path).at("read", &path)?;
        disk::write_atomically(&self.store().mark(layer), shape.as_str().as_bytes())
    }

    /// Takes the mark away: the next use unpacks the layer anew.
    pub(super) fn unmark(&self, layer: &Digest) -> Result<()> {
        let mark = self.store().mark(layer);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", &mark),
            _ => Ok(()),
        }
    }

    /// Makes room for a new directory of the layer. A node may run from the old one, so it is not removed.
    pub(super) fn set_aside(&self, layer: &Digest) -> Result<()> {
        let path = self.store().unpacked_path(layer);
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let free = (1..)
            .map(|number| path.with_extension(format!("bad-{number}")))
            .find(|aside| aside.symlink_metadata().is_err());
        let aside = free.unwrap_or_else(|| path.with_extension("bad"));
        fs::rename(&path, &aside).at("rename", &path)
    }
}

/// Digest of all that can be known of a tree without reading its files.
fn shape(root: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    walk(root, Path::new(""), &mut hasher)?;
    Ok(hasher.finish())
}

fn walk(root: &Path, below: &Path, hasher: &mut Hasher) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(below))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = below.join(entry.file_name());
        let metadata = entry.metadata()?;
        hasher.field(name.as_os_str().as_bytes());
        let directory = metadata.is_dir();
        for number in [
            u64::from(metadata.mode()),
            u64::from(metadata.uid()),
            u64::from(metadata.gid()),
            metadata.rdev(),
            // A directory's size is the file system's affair.
            if directory { 0 } else { metadata.len() },
        ] {
            hasher.field(number.to_le_bytes());
        }
        if directory {
            walk(root, &name, hasher)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{image, store};
    use crate::error::Error;
    use std::fs;

    #[test]
    fn a_file_that_a_crash_left_empty_is_put_right() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        let program = made.in_layers("usr/bin/program").unwrap();
        fs::write(&program, "").unwrap();
        assert_eq!(store.ready("a:1").unwrap(), made);
        assert_eq!(fs::read_to_string(&program).unwrap(), "x");
        // What was there may be in use; the next sweep takes it away.
        let aside = program.ancestors().nth(3).unwrap().with_extension("bad-1");
        assert!(aside.is_dir());
        store.sweep(std::slice::from_ref(&made.digest)).unwrap();
        assert!(aside.is_dir(), "a cluster uses the image");
        store.sweep(&[]).unwrap();
        assert!(!aside.exists());
        assert_eq!(store.ready("a:1").unwrap(), made);
    }

    #[test]
    fn a_directory_without_a_mark_is_not_trusted() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        let layer = &made.layers[1];
        fs::remove_file(layer.unpacked.with_extension("shape")).unwrap();
        fs::remove_dir_all(layer.unpacked.join("usr")).unwrap();
        store.ready("a:1").unwrap();
        assert!(made.in_layers("usr/bin/program").is_some());
    }

    #[test]
    fn a_damaged_directory_with_a_damaged_blob_is_an_error_and_stays() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        let layer = &made.layers[1];
        let blob = store.blob_path(&layer.digest);
        let mut bytes = fs::read(&blob).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&blob, bytes).unwrap();
        let program = layer.unpacked.join("usr/bin/program");
        fs::write(&program, "longer").unwrap();
        let error = store.ready("a:1").unwrap_err();
        assert!(matches!(error, Error::DamagedBlob { .. }), "{error}");
        assert_eq!(fs::read_to_string(&program).unwrap(), "longer");
        // Building it again makes both anew.
        assert_eq!(image(&store, "a:1", "x"), made);
        store.verify("a:1").unwrap();
    }
}
