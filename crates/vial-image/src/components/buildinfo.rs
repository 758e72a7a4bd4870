//! Which Go modules a program is linked from: the build information in its file.
//!
//! Format: Go's `debug/buildinfo` (since 1.18): the magic `\xff Go buildinf:`, aligned to 16, at offset 15 flags with
//! bit 1 set for inline strings, at 32 two strings with varint lengths: Go version and module information, the latter
//! between 16-byte sentinels.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{IoContext, Result};

const MAGIC: &[u8] = b"\xff Go buildinf:";
const INLINE: u8 = 2;

/// Path and version of every module in the program at `path`; empty for a program not written in Go.
pub(super) fn modules(path: &Path) -> Result<Vec<(String, String)>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .at("read", path)?;
    Ok(info(&bytes).map(parse).unwrap_or_default())
}

/// The module information.
fn info(bytes: &[u8]) -> Option<&str> {
    let aligned = (0..bytes.len())
        .step_by(16)
        .filter(|&at| bytes[at..].starts_with(MAGIC));
    aligned.filter_map(|at| inline(&bytes[at..])).next()
}

fn inline(header: &[u8]) -> Option<&str> {
    if header.get(15)? & INLINE == 0 {
        return None;
    }
    let (go, rest) = string(header.get(32..)?)?;
    let (text, _) = string(rest)?;
    if !go.starts_with(b"go") || text.len() < 33 {
        return None;
    }
    std::str::from_utf8(&text[16..text.len() - 16]).ok()
}

/// A string with its length before it (unsigned LEB128).
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift) = (0usize, 0);
    for (index, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return bytes[index + 1..].split_at_checked(length);
        }
    }
    None
}

fn parse(text: &str) -> Vec<(String, String)> {
    let mut modules: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["mod" | "dep", path, version, ..] if *version != "(devel)" && !version.is_empty() => {
                modules.push(((*path).to_owned(), (*version).to_owned()));
            }
            // A replacement stands for the module before it.
            ["=>", path, version, ..] => {
                modules.pop();
                modules.push(((*path).to_owned(), (*version).to_owned()));
            }
            _ => {}
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(info: &str) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes.extend(MAGIC);
        bytes.extend([8, INLINE]);
        bytes.resize(48 + 32, 0);
        bytes.extend([8]);
        bytes.extend(b"go1.26.0");
        let text = [
            &b"0123456789abcdef"[..],
            info.as_bytes(),
            b"0123456789abcdef",
        ]
        .concat();
        assert!(text.len() < 1 << 14);
        bytes.extend([(text.len() & 0x7f) as u8 | 0x80, (text.len() >> 7) as u8]);
        bytes.extend(text);
        bytes.extend([0; 40]);
        bytes
    }

    #[test]
    fn reads_modules_and_replacements() {
        let text = "path\ta\nmod\ta\t(devel)\t\ndep\tb\tv1.0.0\th1:x\ndep\tc\tv1.0.0\n=>\td\tv2.0.0\th1:y\nbuild\tCGO_ENABLED=0\n";
        let expected =
            [("b", "v1.0.0"), ("d", "v2.0.0")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(parse(info(&program(text)).unwrap()), expected);
    }

    #[test]
    fn a_program_of_another_language_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sh");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(modules(&path).unwrap().is_empty());
        std::fs::write(&path, &program("dep\tb\tv1.0.0\th\n")[..100]).unwrap();
        assert!(modules(&path).unwrap().is_empty(), "cut short");
    }
}
