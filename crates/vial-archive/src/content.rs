//! The content of a file, holes included.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};

/// What is looked at for zeros that need no space on the disk.
const PAGE: usize = 4096;

/// Which side of a copy failed.
pub(crate) enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

/// Exactly `size` bytes; pages of zeros become holes when `sparse`.
pub(crate) fn copy(
    from: &mut impl Read,
    to: &mut File,
    size: u64,
    sparse: bool,
    buffer: &mut [u8],
) -> Result<(), Failed> {
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = match from.read(&mut buffer[..most]) {
            Ok(0) => return Err(Failed::Reading(io::ErrorKind::UnexpectedEof.into())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result.map_err(Failed::Reading)?,
        };
        left -= read as u64;
        if !sparse {
            to.write_all(&buffer[..read]).map_err(Failed::Writing)?;
            continue;
        }
        for page in buffer[..read].chunks(PAGE) {
            if page.iter().all(|byte| *byte == 0) {
                let ahead = i64::try_from(page.len()).unwrap_or(i64::MAX);
                to.seek(SeekFrom::Current(ahead)).map(drop)
            } else {
                to.write_all(page)
            }
            .map_err(Failed::Writing)?;
        }
    }
    // A hole at the end.
    if sparse {
        to.set_len(size).map_err(Failed::Writing)?;
    }
    Ok(())
}
