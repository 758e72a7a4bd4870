//! Lists of address patterns, as in `from="…"` and a certificate's `source-address` (ssh_config(5), PATTERNS); pure.
//!
//! Deliberately absent: host names. The server does not look up who a client says it is.

use std::net::IpAddr;

/// Whether the list has `address`: a pattern matches it, and none that begins with `!` does.
pub(crate) fn matches(list: &str, address: IpAddr) -> bool {
    let mut matched = false;
    for pattern in list.split(',').map(str::trim) {
        if let Some(negated) = pattern.strip_prefix('!') {
            if one(negated, address) {
                return false;
            }
        } else {
            matched |= one(pattern, address);
        }
    }
    matched
}

fn one(pattern: &str, address: IpAddr) -> bool {
    match pattern.split_once('/') {
        Some((network, bits)) => in_network(network, bits, address).unwrap_or(false),
        None => wildcard(pattern.as_bytes(), address.to_string().as_bytes()),
    }
}

fn in_network(network: &str, bits: &str, address: IpAddr) -> Option<bool> {
    let bits: u32 = bits.parse().ok()?;
    let same = |network: u128, address: u128, width: u32| {
        let shift = width.checked_sub(bits)?;
        // A shift by the whole width is no shift at all in Rust.
        let prefix = |value: u128| value.checked_shr(shift).unwrap_or(0);
        Some(prefix(network) == prefix(address))
    };
    match (network.parse().ok()?, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            same(network.to_bits().into(), address.to_bits().into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            same(network.to_bits(), address.to_bits(), 128)
        }
        _ => Some(false),
    }
}

/// `*` is anything, `?` one character. Linear in space, and no pattern takes more than length times length steps.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position, mut star) = (0, 0, None);
    while position < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&text[position]) => {
                at += 1;
                position += 1;
            }
            _ => {
                // The last star takes one more.
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                (at, position) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_networks_and_negations() {
        for (list, address, expected) in [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.*", "10.1.2.3", true),
            ("10.1.?.3", "10.1.2.3", true),
            ("10.1.?.3", "10.1.22.3", false),
            ("*.3,!10.*", "10.1.2.3", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("10.0.0.0/33", "10.0.0.1", false),
            ("fd00::/8", "fd89::1", true),
            ("::/0", "fd89::1", true),
            ("fd00::/8", "10.0.0.1", false),
            ("FD89::*", "fd89::1", true),
            ("", "10.0.0.1", false),
            ("*", "10.0.0.1", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(matches(list, address), expected, "{list} {address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(list: String, address: u32) {
            matches(&list, IpAddr::V4(address.into()));
        }
    }
}
