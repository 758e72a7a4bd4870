//! What both makers' ways out have in common: addresses, and how the program of the node image is run.
//!
//! It is run with the image's own loader and libraries: the host needs neither.

use std::path::{Path, PathBuf};

use crate::Families;

/// Addresses of the interface inside and of the gateway behind it. See `vial_spec::OUTBOUND_CIDRS`.
pub const V4: [&str; 2] = ["10.89.129.2", "10.89.129.1"];
/// The same of IPv6.
pub const V6: [&str; 2] = ["fd89:0:0:129::2", "fd89:0:0:129::1"];
/// The hardware address of a machine's interface: locally administered, unicast (IEEE 802c).
pub const MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];

/// Words that pasta and passt are given alike: nothing is let in, and what there is to configure is configured by others.
const SEALED: [&str; 12] = [
    "--mtu",
    "1500",
    // No way in, and none to the host itself.
    "--tcp-ports",
    "none",
    "--udp-ports",
    "none",
    "--no-map-gw",
    "--map-guest-addr",
    "none",
    // The interface is configured directly; names are the keeper's.
    "--no-dhcp",
    "--no-dhcpv6",
    "--no-ra",
];

/// Adds [`SEALED`], and what is carried to a command line.
pub(crate) fn seal(words: &mut Vec<String>, Families { v4, v6 }: Families) {
    let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    add(&SEALED);
    match v4 {
        true => add(&["--address", V4[0], "--netmask", "30", "--gateway", V4[1]]),
        false => add(&["--ipv6-only"]),
    }
    match v6 {
        true => add(&["--address", V6[0], "--gateway", V6[1]]),
        false => add(&["--ipv4-only"]),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_families_that_are_wanted_are_carried_and_nothing_is_let_in() {
        let words = |v4, v6| {
            let mut words = Vec::new();
            seal(&mut words, Families { v4, v6 });
            words.join(" ")
        };
        let both = words(true, true);
        assert!(
            both.contains(V4[0]) && both.contains(V6[0]) && !both.contains("-only"),
            "{both}"
        );
        let four = words(true, false);
        assert!(
            four.contains("--ipv4-only") && !four.contains("fd89"),
            "{four}"
        );
        let six = words(false, true);
        assert!(
            six.contains("--ipv6-only") && !six.contains("10.89"),
            "{six}"
        );
        for shut in ["--tcp-ports none", "--udp-ports none", "--no-map-gw"] {
            assert!(both.contains(shut), "{shut} in {both}");
        }
    }
}
