//! CIDRs: reading them strictly, overlaps, and the nth subnet or address of one.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why a text is not a CIDR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Neither `10.244.0.0/16` nor `fd00::/56`.
    #[error("{text:?} is not a CIDR, as 10.244.0.0/16 and fd00:10:244::/56 are")]
    Syntax {
        /// The text refused.
        text: String,
    },
    /// The prefix length is missing.
    #[error("{text:?} has no prefix length, as in {text}/{example}")]
    NoPrefix {
        /// The text refused.
        text: String,
        /// What is usual for the family.
        example: u8,
    },
    /// The prefix is longer than an address.
    #[error("{text:?} has a prefix longer than {max}")]
    Prefix {
        /// The text refused.
        text: String,
        /// 32 or 128.
        max: u8,
    },
    /// Bits beyond the prefix are set.
    #[error("{text:?} is an address in a network, the network itself is {network}")]
    HostBits {
        /// The text refused.
        text: String,
        /// What was probably meant.
        network: IpNet,
    },
}

/// Reads a CIDR. Unlike the standard conversion it refuses bits beyond the prefix, as Kubernetes does.
///
/// # Errors
/// What is wrong with it, in words for people.
pub fn parse(text: &str) -> Result<IpNet, CidrError> {
    let text = text.trim();
    let syntax = || CidrError::Syntax {
        text: text.to_owned(),
    };
    let Some((address, prefix)) = text.split_once('/') else {
        let address: IpAddr = text.parse().map_err(|_| syntax())?;
        let example = if address.is_ipv4() { 24 } else { 64 };
        return Err(CidrError::NoPrefix {
            text: text.to_owned(),
            example,
        });
    };
    let address: IpAddr = address.parse().map_err(|_| syntax())?;
    if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return Err(syntax());
    }
    let max = if address.is_ipv4() { 32 } else { 128 };
    let too_long = || CidrError::Prefix {
        text: text.to_owned(),
        max,
    };
    let prefix: u8 = prefix.parse().map_err(|_| too_long())?;
    let net = IpNet::new(address, prefix).map_err(|_| too_long())?;
    if net.trunc() != net {
        return Err(CidrError::HostBits {
            text: text.to_owned(),
            network: net.trunc(),
        });
    }
    Ok(net)
}

/// Do two networks share an address?
#[must_use]
pub fn overlap(one: &IpNet, two: &IpNet) -> bool {
    one.contains(two) || two.contains(one)
}

/// The `n`th (from 0) network of length `prefix` within `net`; `None` when there is none.
#[must_use]
pub fn nth_subnet(net: &IpNet, prefix: u8, n: u32) -> Option<IpNet> {
    let bits = prefix.checked_sub(net.prefix_len())?;
    if prefix > net.max_prefix_len() || (bits < 32 && n >> bits != 0) {
        return None;
    }
    match net {
        IpNet::V4(net) => {
            let offset = u32::try_from(u64::from(n) << (32 - prefix)).ok()?;
            Ipv4Net::new((net.network().to_bits() + offset).into(), prefix)
                .ok()
                .map(IpNet::V4)
        }
        IpNet::V6(net) => {
            let offset = u128::from(n)
                .checked_shl(u32::from(128 - prefix))
                .unwrap_or(0);
            Ipv6Net::new((net.network().to_bits() + offset).into(), prefix)
                .ok()
                .map(IpNet::V6)
        }
    }
}

/// The `n`th address of `net`, the network's own address being the 0th; `None` when there is none.
#[must_use]
pub fn nth_address(net: &IpNet, n: u32) -> Option<IpAddr> {
    nth_subnet(net, net.max_prefix_len(), n).map(|net| net.addr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        parse(text).unwrap()
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        for (text, message) in [
            (
                "pods",
                r#""pods" is not a CIDR, as 10.244.0.0/16 and fd00:10:244::/56 are"#,
            ),
            (
                "10.244.0.0",
                r#""10.244.0.0" has no prefix length, as in 10.244.0.0/24"#,
            ),
            (
                "fd00::",
                r#""fd00::" has no prefix length, as in fd00::/64"#,
            ),
            (
                "10.244.0.0/33",
                r#""10.244.0.0/33" has a prefix longer than 32"#,
            ),
            (
                "10.244.0.0/999",
                r#""10.244.0.0/999" has a prefix longer than 32"#,
            ),
            ("fd00::/129", r#""fd00::/129" has a prefix longer than 128"#),
            (
                "10.244.0.0/+6",
                r#""10.244.0.0/+6" is not a CIDR, as 10.244.0.0/16 and fd00:10:244::/56 are"#,
            ),
            (
                "10.244.1.0/16",
                r#""10.244.1.0/16" is an address in a network, the network itself is 10.244.0.0/16"#,
            ),
            (
                "010.244.0.0/16",
                r#""010.244.0.0/16" is not a CIDR, as 10.244.0.0/16 and fd00:10:244::/56 are"#,
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn overlaps() {
        assert!(overlap(&net("10.0.0.0/8"), &net("10.96.0.0/16")));
        assert!(overlap(&net("10.96.0.0/16"), &net("10.0.0.0/8")));
        assert!(overlap(&net("10.96.0.0/16"), &net("10.96.0.0/16")));
        assert!(!overlap(&net("10.96.0.0/16"), &net("10.97.0.0/16")));
        assert!(!overlap(&net("0.0.0.0/0"), &net("::/0")));
    }

    #[test]
    fn subnets_and_addresses() {
        let subnet = |text, prefix, n| nth_subnet(&net(text), prefix, n).map(|net| net.to_string());
        assert_eq!(
            subnet("10.244.0.0/16", 24, 0).as_deref(),
            Some("10.244.0.0/24")
        );
        assert_eq!(
            subnet("10.244.0.0/16", 24, 255).as_deref(),
            Some("10.244.255.0/24")
        );
        assert_eq!(subnet("10.244.0.0/16", 24, 256), None);
        assert_eq!(
            subnet("10.244.0.0/24", 24, 0).as_deref(),
            Some("10.244.0.0/24")
        );
        assert_eq!(subnet("10.244.0.0/24", 16, 0), None);
        assert_eq!(
            subnet("fd00:10:244::/56", 64, 28).as_deref(),
            Some("fd00:10:244:1c::/64")
        );
        assert_eq!(subnet("0.0.0.0/0", 0, 0).as_deref(), Some("0.0.0.0/0"));
        assert_eq!(subnet("::/0", 0, 0).as_deref(), Some("::/0"));
        assert_eq!(
            nth_address(&net("10.96.0.0/16"), 10),
            Some("10.96.0.10".parse().unwrap())
        );
        assert_eq!(
            nth_address(&net("fd00:10:96::/112"), 1),
            Some("fd00:10:96::1".parse().unwrap())
        );
        assert_eq!(nth_address(&net("10.96.0.0/30"), 4), None);
    }

    prop_compose! {
        fn any_net()(v4 in any::<bool>(), bits in any::<u128>(), prefix in 0..=128u8) -> IpNet {
            let net = if v4 {
                IpNet::new(IpAddr::from(u32::to_be_bytes(bits as u32)), prefix % 33)
            } else {
                IpNet::new(IpAddr::from(bits.to_be_bytes()), prefix)
            };
            net.unwrap().trunc()
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(net in any_net()) {
            prop_assert_eq!(parse(&net.to_string()), Ok(net));
        }

        #[test]
        fn anything_may_be_read(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn anything_like_a_cidr_may_be_read(text in "[0-9a-f:./]{0,24}") {
            let _ = parse(&text);
        }

        #[test]
        fn subnets_lie_within_and_apart(net in any_net(), prefix in 0..=128u8, n in any::<u32>(), m in any::<u32>()) {
            let (n, m) = (n % 1024, m % 1024);
            if let (Some(one), Some(two)) = (nth_subnet(&net, prefix, n), nth_subnet(&net, prefix, m)) {
                prop_assert!(net.contains(&one));
                prop_assert_eq!(one.prefix_len(), prefix);
                prop_assert_eq!(overlap(&one, &two), n == m);
            }
        }

        #[test]
        fn overlap_is_symmetric_and_means_a_common_address(one in any_net(), two in any_net()) {
            prop_assert_eq!(overlap(&one, &two), overlap(&two, &one));
            prop_assert_eq!(overlap(&one, &two), one.contains(&two.network()) || two.contains(&one.network()));
        }
    }
}
