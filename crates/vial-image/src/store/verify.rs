//! The whole verification: every byte of every blob, and of every directory that nodes run from.

use std::fs::File;

use super::Store;
use super::read::damaged;
use crate::digest::Digest;
use crate::error::{Error, IoContext, Result};
use crate::image::Layer;
use crate::layer::{self, Difference};

impl Store {
    /// Reads every blob of an image and compares its digest, and every unpacked layer and compares it with its blob; the
    /// first that differs is the error. Takes some seconds for each gigabyte.
    ///
    /// A layer that is found damaged is unpacked anew by the next [`ready`](Store::ready).
    pub fn verify(&self, reference: &str) -> Result<()> {
        let descriptor = self.resolve(&self.index()?, reference)?;
        let manifest = self.manifest(reference, &descriptor)?;
        self.check_size(reference, &manifest.config.digest, manifest.config.size)?;
        let path = self.blob_path(&manifest.config.digest);
        let (actual, _) = File::open(&path)
            .and_then(Digest::of_reader)
            .at("read", &path)?;
        same(reference, &manifest.config.digest, &actual)?;
        let image = self.find(reference)?;
        image
            .layers
            .iter()
            .try_for_each(|layer| self.verify_layer(reference, layer))
    }

    fn verify_layer(&self, reference: &str, layer: &Layer) -> Result<()> {
        // A damaged blob says nothing about the directory.
        let compared = self.read_layer(reference, layer, |tar| {
            layer::compare(&layer.title, tar, &layer.unpacked)
        })?;
        let Some(Difference { path, reason }) = compared else {
            return Ok(());
        };
        self.lock()?.unmark(&layer.digest)?;
        Err(Error::DamagedLayer {
            reference: reference.to_owned(),
            title: layer.title.clone(),
            path,
            reason,
        })
    }
}

fn same(reference: &str, expected: &Digest, actual: &Digest) -> Result<()> {
    if actual == expected {
        return Ok(());
    }
    let reason = format!("its content has digest {actual}");
    Err(damaged(reference, expected, reason))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{image, store};

    #[test]
    fn one_flipped_bit_is_found() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        store.verify("a:1").unwrap();
        let blob = store.blob_path(&made.layers[1].digest);
        let mut bytes = std::fs::read(&blob).unwrap();
        bytes[20] ^= 0x10;
        std::fs::write(blob, bytes).unwrap();
        let error = store.verify("a:1").unwrap_err();
        assert!(
            error.to_string().contains(made.layers[1].digest.as_str()),
            "{error}"
        );
    }

    #[test]
    fn a_changed_file_of_an_unpacked_layer_is_named_and_put_right_by_the_next_use() {
        let (_home, store) = store();
        let made = image(&store, "a:1", "x");
        let program = made.in_layers("usr/bin/program").unwrap();
        std::fs::write(&program, "y").unwrap();
        let error = store.verify("a:1").unwrap_err();
        assert!(
            error.to_string().contains(&program.display().to_string()),
            "{error}"
        );
        store.ready("a:1").unwrap();
        store.verify("a:1").unwrap();
        assert_eq!(std::fs::read_to_string(&program).unwrap(), "x");
    }
}
