//! What a network is to look like, and what to do about the difference; pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// One network: a bridge in the sandbox's own network namespace and the nodes attached to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The bridge's name.
    pub bridge: String,
    /// What is on the bridge.
    pub interface: Interface,
    /// All nodes; one that is missing loses its namespace.
    pub nodes: Vec<Node>,
    /// In bytes; `None` is the kernel's default.
    pub mtu: Option<u32>,
    /// What is never carried further; without host bits.
    pub refused: BTreeSet<IpNet>,
}

/// One node's namespace and its end of the cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Also the name of its namespace.
    pub name: String,
    /// Of eth0.
    pub mac: [u8; 6],
    /// What is on eth0; of a machine's node nothing, since the machine has the addresses.
    pub interface: Interface,
    /// Who may open [`TAP`], when the node is a machine behind it.
    pub machine: Option<u32>,
    /// Further interfaces of a machine.
    pub taps: Vec<Tap>,
}

/// An interface of a machine's node that leads into the machine, beside [`TAP`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// Of the interface: `tap1`.
    pub name: String,
    /// The bridge of the sandbox that it leads to; made when it is not [`Network::bridge`].
    pub bridge: String,
}

/// The interface of a machine's node that leads into the machine.
pub const TAP: &str = "tap0";

/// Addresses of one interface and the routes over it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// With their prefixes.
    pub addresses: BTreeSet<IpNet>,
    /// Over this interface.
    pub routes: BTreeSet<Route>,
}

/// A destination by way of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Where to; without host bits.
    pub destination: IpNet,
    /// By way of whom.
    pub gateway: IpAddr,
}

/// What to remove and what to add.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference<T> {
    /// There, not wanted.
    pub remove: Vec<T>,
    /// Wanted, not there.
    pub add: Vec<T>,
}

/// How to get from `have` to `want`.
pub fn difference<T: Ord + Copy>(have: &BTreeSet<T>, want: &BTreeSet<T>) -> Difference<T> {
    Difference {
        remove: have.difference(want).copied().collect(),
        add: want.difference(have).copied().collect(),
    }
}

/// Addresses the kernel gives an interface by itself.
pub fn is_kernels_own(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xffc0 == Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).segments()[0])
}

/// The interface in the sandbox that is a node's end at the bridge: `v-w-1`, or `v-` and a digest where the name is
/// too long for an interface (15 bytes, IFNAMSIZ).
pub fn port_name(node: &str) -> String {
    let name = format!("v-{node}");
    if name.len() <= 15 {
        name
    } else {
        format!("v-{:013x}", digest(node) >> 12)
    }
}

/// A hardware address for a name: always the same one, locally administered, unicast (IEEE 802c).
pub fn mac_of(name: &str) -> [u8; 6] {
    let digest = digest(name).to_be_bytes();
    [0x02, digest[1], digest[2], digest[3], digest[4], digest[5]]
}

/// FNV-1a, 64 bits: stable over versions, which the standard hasher does not promise.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_difference_is_touched() {
        let have = BTreeSet::from([1, 2]);
        let want = BTreeSet::from([2, 3]);
        assert_eq!(
            difference(&have, &want),
            Difference {
                remove: vec![1],
                add: vec![3]
            }
        );
    }

    #[test]
    fn port_names_fit() {
        assert_eq!(port_name("w-1"), "v-w-1");
        let long = port_name("a-worker-with-a-long-name");
        assert_eq!(long.len(), 15);
        assert_ne!(long, port_name("a-worker-with-a-long-namf"));
    }

    #[test]
    fn macs_are_stable_local_and_different() {
        assert_eq!(mac_of("w-1"), mac_of("w-1"));
        assert_ne!(mac_of("w-1"), mac_of("w-2"));
        assert_eq!(mac_of("w-1")[0], 2);
    }

    #[test]
    fn link_local_addresses_belong_to_the_kernel() {
        assert!(is_kernels_own("fe80::1".parse().unwrap()));
        assert!(
            !is_kernels_own("fd89::1".parse().unwrap())
                && !is_kernels_own("10.0.0.1".parse().unwrap())
        );
    }
}
