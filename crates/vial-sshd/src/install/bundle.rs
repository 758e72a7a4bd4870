//! A program with a busybox behind it in one file, as it is unpacked where there is no image of the means.
//!
//! ```text
//!  program … | busybox … | length of busybox, 8 bytes, little-endian | trailer, 16 bytes
//! ```
//! The kernel runs it like the program alone: what is behind its sections is not its concern. `vial-means` writes it.

use std::io::{self, Read, Seek, SeekFrom};

/// The same in `crates/vial-means/src/parts.rs`.
const TRAILER: &[u8; 16] = b"vial+busybox\0\0\0\x01";
/// Trailer and length.
const END: u64 = 24;

/// How long the pieces of a file are, in bytes; they follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bundle {
    pub(super) program: u64,
    pub(super) busybox: Option<u64>,
}

impl Bundle {
    /// What a file holds.
    pub(super) fn of(file: &mut (impl Read + Seek)) -> io::Result<Self> {
        let whole = file.seek(SeekFrom::End(0))?;
        let alone = Self {
            program: whole,
            busybox: None,
        };
        let Some(inner) = whole.checked_sub(END) else {
            return Ok(alone);
        };
        file.seek(SeekFrom::Start(inner))?;
        let (mut length, mut trailer) = ([0; 8], [0; 16]);
        file.read_exact(&mut length)?;
        file.read_exact(&mut trailer)?;
        let length = u64::from_le_bytes(length);
        Ok(match inner.checked_sub(length) {
            Some(program) if trailer == *TRAILER => Self {
                program,
                busybox: Some(length),
            },
            _ => alone,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> (u64, Option<u64>) {
        let bundle = Bundle::of(&mut io::Cursor::new(bytes)).unwrap();
        (bundle.program, bundle.busybox)
    }

    fn with(program: &[u8], busybox: &[u8], length: u64) -> Vec<u8> {
        [program, busybox, &length.to_le_bytes(), TRAILER].concat()
    }

    #[test]
    fn pieces_are_told_apart_by_the_end() {
        assert_eq!(of(&with(b"program", b"box", 3)), (7, Some(3)));
        assert_eq!(of(&with(b"", b"", 0)), (0, Some(0)));
    }

    #[test]
    fn a_program_alone_is_all_of_the_file() {
        assert_eq!(of(b""), (0, None));
        assert_eq!(of(b"short"), (5, None));
        assert_eq!(of(&[7; 1000]), (1000, None));
        // A length that cannot be is none.
        let wrong = with(b"program", b"box", 11);
        assert_eq!(of(&wrong), (wrong.len() as u64, None));
        let wrong = with(b"program", b"box", u64::MAX);
        assert_eq!(of(&wrong), (wrong.len() as u64, None));
    }
}
