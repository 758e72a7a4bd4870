//! Trees of files as tar streams, for copies between the host and nodes.
//!
//! ```text
//!  pack: files ─► entries in the order of their names ─► Write         (either side)
//!  Read ─► each entry made aside in its directory ─► renamed ─► unpack (the other side)
//! ```
//! Both work in constant memory, whatever the size of a file. The streams are what other tar programs write and read:
//! GNU headers and long names, PAX records for what these cannot say (fractions of seconds, extended attributes).
//!
//! What differs from the layers of `vial-image`: there all that depends on a machine is left out, here everything is
//! kept, and the destination may be a directory that is in use.
//!
//! # Invariants
//! - Unpacking makes, replaces or changes nothing outside of the destination directory, whatever the archive says.
//! - A file appears under its name whole or not at all.

mod attributes;
mod content;
mod error;
mod look;
mod pack;
mod place;
mod records;
mod unpack;

pub use error::ArchiveError;
pub use look::{Kind, Seen, look};
pub use pack::{Root, pack};
pub use unpack::{Owner, Trust, Unpacking, unpack};

/// What was copied, and what was left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries: files, directories, links.
    pub entries: u64,
    /// Bytes of files' content, holes included.
    pub bytes: u64,
    /// What could not be kept, one line each; the first [`Summary::NOTES`] of them.
    pub notes: Vec<String>,
    /// How many more there were.
    pub more_notes: u64,
}

impl Summary {
    /// As many notes are kept.
    pub const NOTES: usize = 10;

    fn note(&mut self, note: String) {
        if self.notes.len() < Self::NOTES {
            self.notes.push(note);
        } else {
            self.more_notes += 1;
        }
    }
}
