//! The whole verification: every byte of every blob.

use std::fs::File;

use super::Store;
use super::read::damaged;
use crate::digest::Digest;
use crate::error::{IoContext, Result};

impl Store {
    /// Reads every blob of an image and compares its digest; the first that differs is the error. Takes about a
    /// second for each gigabyte.
    pub fn verify(&self, reference: &str) -> Result<()> {
        let descriptor = self.resolve(&self.index()?, reference)?;
        let manifest = self.manifest(reference, &descriptor)?;
        for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
            self.check_size(reference, &blob.digest, blob.size)?;
            let path = self.blob_path(&blob.digest);
            let (actual, _) = File::open(&path)
                .and_then(Digest::of_reader)
                .at("read", &path)?;
            if actual != blob.digest {
                return Err(damaged(
                    reference,
                    &blob.digest,
                    format!("its content has digest {actual}"),
                ));
            }
        }
        Ok(())
    }
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
}
