//! What both makers' ways out have in common: addresses, and how the program of the node image is run.
//!
//! It is run with the image's own loader and libraries: the host needs neither.

use std::path::{Path, PathBuf};

/// Addresses of the interface inside and of the gateway behind it. See `vial_spec::OUTBOUND_CIDRS`.
pub const V4: [&str; 2] = ["10.89.129.2", "10.89.129.1"];
/// The same of IPv6.
pub const V6: [&str; 2] = ["fd89:0:0:129::2", "fd89:0:0:129::1"];
/// The hardware address of a machine's interface: locally administered, unicast (IEEE 802c).
pub const MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// The loader, and what it is given to run `name` (pasta or passt, which are one package) of an image's `root`.
pub(crate) fn program(root: &Path, name: &str) -> (PathBuf, Vec<String>) {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let file = match std::arch::is_x86_feature_detected!("avx2") {
        true => format!("usr/bin/{name}.avx2"),
        false => format!("usr/bin/{name}"),
    };
    let words = vec![
        "--argv0".into(),
        name.into(),
        "--library-path".into(),
        text(root.join("usr/lib/x86_64-linux-gnu")),
        text(root.join(file)),
    ];
    (root.join("usr/lib64/ld-linux-x86-64.so.2"), words)
}
