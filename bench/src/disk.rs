//! What trees of files take on disk.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::Result;

/// Bytes on disk of files that only this tree names: what others hard-link costs nothing more.
///
/// # Errors
/// When a directory cannot be read.
pub fn own(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    walk(dir, &mut |facts| {
        if facts.is_dir() || facts.nlink() == 1 {
            sum += facts.blocks() * 512;
        }
    })?;
    Ok(sum)
}

/// Bytes on disk, each file once however many names it has in the tree: what `du -s` says.
///
/// # Errors
/// When a directory cannot be read.
pub fn used(dir: &Path) -> Result<u64> {
    let (mut sum, mut seen) = (0, BTreeSet::new());
    walk(dir, &mut |facts| {
        if seen.insert((facts.dev(), facts.ino())) {
            sum += facts.blocks() * 512;
        }
    })?;
    Ok(sum)
}

fn walk(dir: &Path, count: &mut dyn FnMut(&Metadata)) -> Result {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // What a living cluster removes meanwhile costs nothing.
        let Ok(facts) = entry.metadata() else {
            continue;
        };
        count(&facts);
        if facts.is_dir() {
            walk(&entry.path(), count)?;
        }
    }
    Ok(())
}
