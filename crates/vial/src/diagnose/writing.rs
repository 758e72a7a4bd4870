//! Pieces on their way into the archive: secrets are removed from each, and each is a line of the index.

use super::Subject;
use super::archive::Archive;
use super::gather::{Piece, Wrote};
use super::index::{Index, Summary};
use super::redact::Redactor;
use crate::error::Result;
use crate::output;

/// The archive as it grows.
pub(super) struct Writing {
    redactor: Redactor,
    archive: Archive,
    index: Index,
}

impl Writing {
    /// Nothing is in it yet.
    pub(super) fn new(archive: Archive, redactor: Redactor) -> Self {
        Self {
            redactor,
            archive,
            index: Index::default(),
        }
    }

    /// Adds a piece, without secrets, and a line of the index.
    pub(super) fn add(&mut self, piece: Piece) -> Result<()> {
        // Names are others' words, too.
        let path = self.redactor.text(&piece.path);
        let what = self.redactor.text(&piece.what);
        let text = match piece.wrote {
            Wrote::Text(text) => text,
            Wrote::Json(mut value) => {
                self.redactor.object(&mut value);
                output::json(&value)?
            }
            Wrote::Yaml(mut value) => {
                self.redactor.object(&mut value);
                output::yaml(&value)?
            }
            Wrote::Specification(mut value) => {
                if let Some(spec) = value.pointer_mut("/spec") {
                    self.redactor.specification(spec);
                }
                self.redactor.object(&mut value);
                output::json(&value)?
            }
            Wrote::Nothing(why) => {
                let why = self.redactor.text(&why);
                self.index.failed(path, what, why);
                return Ok(());
            }
        };
        let text = self.redactor.text(&text);
        self.archive.add(&path, text.as_bytes())?;
        self.index.added(path, what, text.len());
        Ok(())
    }

    /// Adds the index, and puts the archive where it belongs.
    pub(super) fn end(mut self, subject: &Subject) -> Result<Summary> {
        let readme = self.index.readme(subject);
        self.archive.add("README.txt", readme.as_bytes())?;
        let bytes = self.archive.end()?;
        Ok(self.index.summary(bytes))
    }
}
