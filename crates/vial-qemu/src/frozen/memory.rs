//! The file that QEMU writes a machine's memory to: `mapped-ram`, each page at its place.
//!
//! ```text
//! "QEVM"  version  …  0x01 section(4) "ram" instance(4) version(4)  total(8)
//!   name   length(8)  │ 1(4) page size(8) bitmap at(8) pages at(8) │ bitmap │ … pages, from a multiple of 1 MiB
//!   name   length(8)  │ …
//! ```
//! All big endian, but the bitmap, which is in the host's words: a bit is set for each page that is not zero. Bits of zero pages
//! are cleared, and what was written there before stays: [`trim`] makes holes of it. From QEMU's documentation,
//! devel/migration/mapped-ram, and as QEMU 10.0 writes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, fallocate};

/// How much before the first block is looked through for the section: its configuration is some hundred bytes.
const HEAD: usize = 64 * 1024;
/// `RAM_SAVE_FLAG_MEM_SIZE` in the low bits of the total.
const FLAGS: u64 = 0xfff;

/// Why a file is no memory of a machine.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It cannot be read, or not be changed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("it is not what QEMU writes as memory: {0}")]
    Form(&'static str),
}

/// One block of a guest's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// As QEMU calls it: the id of its `memory-backend`.
    pub name: String,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Where its bitmap is.
    bitmap: u64,
    /// Of the pages that the bitmap tells of, in bytes.
    page: u64,
}

/// All blocks, in their order.
pub(super) fn blocks(file: &File) -> Result<Vec<Block>, MemoryError> {
    let mut head = vec![0; HEAD];
    let read = file.read_at(&mut head, 0)?;
    head.truncate(read);
    if !head.starts_with(b"QEVM") {
        return Err(MemoryError::Form("it does not begin with QEVM"));
    }
    let name = head.windows(4).position(|bytes| bytes == b"\x03ram");
    let section = name.filter(|at| *at >= 5 && head[at - 5] == 1);
    let section = section.ok_or(MemoryError::Form("it has no section of memory"))?;
    // The name, its instance and its version.
    let mut at = section as u64 + 4 + 4 + 4;
    let total = u64_at(file, at)? & !FLAGS;
    at += 8;
    let mut blocks = Vec::new();
    let mut seen = 0;
    while seen < total {
        let mut length = [0];
        file.read_exact_at(&mut length, at)?;
        let mut name = vec![0; usize::from(length[0])];
        file.read_exact_at(&mut name, at + 1)?;
        at += 1 + u64::from(length[0]);
        let name = String::from_utf8(name).map_err(|_| MemoryError::Form("a name is no text"))?;
        let length = u64_at(file, at)?;
        let mut version = [0; 4];
        file.read_exact_at(&mut version, at + 8)?;
        if u32::from_be_bytes(version) != 1 || length == 0 {
            return Err(MemoryError::Form("a block has an unknown head"));
        }
        let block = Block {
            name,
            length,
            page: u64_at(file, at + 12)?,
            bitmap: u64_at(file, at + 20)?,
            offset: u64_at(file, at + 28)?,
        };
        if block.page == 0
            || !block.page.is_multiple_of(8)
            || block.bitmap <= at
            || block.offset <= block.bitmap
        {
            return Err(MemoryError::Form("a block has an impossible head"));
        }
        seen += length;
        at = block.offset + length;
        blocks.push(block);
    }
    Ok(blocks)
}

fn u64_at(file: &File, at: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Makes holes of all pages that are zero, and of the blocks' ends that were never written.
pub(super) fn trim(file: &File) -> Result<(), MemoryError> {
    let end = file.metadata()?.len();
    for block in blocks(file)? {
        // The last block may end where its last page that is not zero does.
        file.set_len(end.max(block.offset + block.length))?;
        let pages = block.length.div_ceil(block.page);
        let mut bitmap = vec![0; usize::try_from(pages.div_ceil(64) * 8).unwrap_or(0)];
        file.read_exact_at(&mut bitmap, block.bitmap)?;
        for (from, to) in clear(&bitmap, pages) {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let (from, length) = (from * block.page, (to - from) * block.page);
            fallocate(file, flags, block.offset + from, length).map_err(io::Error::from)?;
        }
    }
    Ok(())
}

/// Ranges of pages whose bits are not set.
fn clear(bitmap: &[u8], pages: u64) -> Vec<(u64, u64)> {
    let set = |page: u64| {
        let byte = bitmap[usize::try_from(page / 8).unwrap_or(usize::MAX)];
        byte >> (page % 8) & 1 == 1
    };
    let mut ranges = Vec::new();
    let mut page = 0;
    while page < pages {
        if set(page) {
            page += 1;
            continue;
        }
        let from = page;
        while page < pages && !set(page) {
            page += 1;
        }
        ranges.push((from, page));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_what_is_not_set() {
        assert_eq!(clear(&[0b0000_0000], 8), [(0, 8)]);
        assert_eq!(clear(&[0b1111_1111], 8), []);
        assert_eq!(
            clear(&[0b0101_0001, 0b1], 11),
            [(1, 4), (5, 6), (7, 8), (9, 11)]
        );
    }

    #[test]
    fn what_is_something_else_is_told() {
        let directory = tempfile::tempdir().unwrap();
        for (content, told) in [
            (&b""[..], "QEVM"),
            (b"QFI\xfb", "QEVM"),
            (b"QEVM\0\0\0\x03 and no more", "no section"),
        ] {
            let path = directory.path().join("memory");
            std::fs::write(&path, content).unwrap();
            let error = blocks(&File::open(&path).unwrap()).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
