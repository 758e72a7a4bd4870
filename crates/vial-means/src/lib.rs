//! Small programs as bytes of this one, so that one file is enough: the ssh server by which a pod can be reached, with the
//! ways to hand it over, and the first program of a virtual machine.
//!
//! ```text
//!  build.rs: cargo builds vial-sshd ──► program_gz ──► image (with a busybox): where a registry or a node can be filled
//!                       │                         └──► parts: a few ConfigMaps, where there is the API alone
//!                       └ vial-boot ──► boot ──► the initramfs of machines
//! ```
//! A busybox, for images without a shell, is not part of it: whoever has a node image takes the one that is in there.
//!
//! # Deliberately absent
//! Anything about Kubernetes, nodes and registries: these are bytes and texts.

mod parts;

use std::io::Read as _;

use sha2::{Digest as _, Sha256};

pub use parts::{LARGEST_PART, parts, unpack_script};

/// Where the image of the means would be, if it were pulled.
pub const IMAGE_REPOSITORY: &str = "docker.io/vial/sshd";

/// How much of a digest is enough to tell things apart, in hexadecimal digits.
const SHORT: usize = 12;

/// The program of vial-sshd (static, for this architecture) as a gzip stream of RFC 1952.
#[must_use]
pub fn program_gz() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/vial-sshd.gz"))
}

/// The program of vial-sshd.
#[must_use]
pub fn program() -> Vec<u8> {
    unpack(program_gz())
}

/// The program of vial-boot (static, for this architecture): `/init` of a machine's initramfs.
#[must_use]
pub fn boot() -> Vec<u8> {
    unpack(include_bytes!(concat!(env!("OUT_DIR"), "/vial-boot.gz")))
}

/// SHA-256 of [`boot`], in hexadecimal digits.
#[must_use]
pub fn boot_digest() -> &'static str {
    env!("VIAL_BOOT_DIGEST")
}

fn unpack(gz: &[u8]) -> Vec<u8> {
    let mut program = Vec::new();
    flate2::read::GzDecoder::new(gz)
        .read_to_end(&mut program)
        .expect("the build wrote a whole gzip stream");
    program
}

/// SHA-256 of the program of vial-sshd, in hexadecimal digits.
#[must_use]
pub fn digest() -> &'static str {
    env!("VIAL_SSHD_DIGEST")
}

/// The tag of an image of the program and this busybox: another content has another tag.
#[must_use]
pub fn image_tag(busybox: Option<&[u8]>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(digest());
    if let Some(busybox) = busybox {
        hasher.update(busybox);
    }
    let mut tag: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    tag.truncate(SHORT);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_the_ones_of_the_digests() {
        for (program, digest) in [(program(), digest()), (boot(), boot_digest())] {
            let found: String = Sha256::digest(&program)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(found, digest);
            assert_eq!(&program[..4], b"\x7fELF");
        }
        // It is unpacked by every machine before anything else.
        assert!(boot().len() < 2_000_000, "{}", boot().len());
    }

    #[test]
    fn nothing_of_the_build_is_in_the_stream() {
        // RFC 1952, 2.3: flags, then four bytes of time.
        assert_eq!(program_gz()[3..8], [0; 5]);
    }

    #[test]
    fn another_content_has_another_tag() {
        let tags = [
            image_tag(None),
            image_tag(Some(b"a")),
            image_tag(Some(b"b")),
        ];
        assert!(tags.iter().all(|tag| tag.len() == SHORT));
        assert!(tags[0] != tags[1] && tags[1] != tags[2]);
        assert_eq!(image_tag(None), tags[0]);
    }
}
