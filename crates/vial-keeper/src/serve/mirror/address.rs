//! Which addresses are of the internet; pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Neither this machine nor its neighbours (IANA's special-purpose address registries, RFC 6890). Addresses that are
/// set aside for documentation count as those of the internet that they stand for.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocols = [a, b, c] == [192, 0, 0];
    let benchmark = a == 198 && (18..20).contains(&b);
    let special = shared || protocols || benchmark;
    // 0.0.0.0/8 is this network; from 224 on: multicast and reserved.
    let near = matches!(a, 0 | 127 | 224..) || address.is_private() || address.is_link_local();
    !special && !near
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // All that is given out lies in 2000::/3; 6to4 and Teredo hold an IPv4 address of their own.
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && first != 0x2002 && !(first == 0x2001 && second == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_and_its_neighbours_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.89.0.2",
            "100.64.0.1",
            "127.0.0.1",
            "127.89.1.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.1.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2001::1",
            "2002:7f00:1::",
            "fd89::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "203.0.113.9",
            "100.128.0.1",
            "2606:4700::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
