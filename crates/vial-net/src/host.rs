//! What the host's network is like, as far as a way out depends on it: proc_net(5) of the calling process; read only.

use std::fs;

/// Which address families.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl Families {
    /// Not one of them.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Those that both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            v4: self.v4 && other.v4,
            v6: self.v6 && other.v6,
        }
    }

    /// Has it all of these?
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.and(other) == other
    }
}

/// The interfaces by which this process's network leads away from the machine, the one with the default route first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uplinks {
    /// By IPv4.
    pub v4: Option<String>,
    /// By IPv6.
    pub v6: Option<String>,
}

impl Uplinks {
    /// Looks at the routes as they are now.
    #[must_use]
    pub fn now() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
        Self {
            v4: first(read("route").lines().skip(1).filter_map(v4)),
            v6: first(read("ipv6_route").lines().filter_map(v6)),
        }
    }

    /// By which families it leads away.
    #[must_use]
    pub fn families(&self) -> Families {
        Families {
            v4: self.v4.is_some(),
            v6: self.v6.is_some(),
        }
    }
}

/// A route that leads away from the machine.
#[derive(Debug, PartialEq, Eq)]
struct Route<'a> {
    device: &'a str,
    is_default: bool,
}

fn first<'a>(routes: impl Iterator<Item = Route<'a>>) -> Option<String> {
    let best = routes.min_by_key(|route| !route.is_default)?;
    Some(best.device.to_owned())
}

/// Flags of linux/route.h and linux/ipv6_route.h.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;
const LOCAL: u32 = 0x8000_0000;

fn leads_away(flags: &str, device: &str) -> bool {
    let flags = u32::from_str_radix(flags, 16).unwrap_or_default();
    flags & UP != 0 && flags & (REJECT | LOCAL) == 0 && device != "lo"
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask …`; addresses in the byte order of the machine.
fn v4(line: &str) -> Option<Route<'_>> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [device, destination, _, flags, _, _, _, mask, ..] = fields[..] else {
        return None;
    };
    let destination = u32::from_str_radix(destination, 16).ok()?.to_ne_bytes();
    let is_link_local = destination.starts_with(&[169, 254]);
    (leads_away(flags, device) && !is_link_local).then(|| Route {
        device,
        is_default: destination == [0; 4] && mask == "00000000",
    })
}

/// `destination prefix source prefix gateway metric references use flags device`.
fn v6(line: &str) -> Option<Route<'_>> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [destination, prefix, _, _, _, _, _, _, flags, device] = fields[..] else {
        return None;
    };
    let bits = u16::from_str_radix(destination.get(..4)?, 16).ok()?;
    let is_link_local = bits & 0xffc0 == 0xfe80;
    let is_multicast = bits & 0xff00 == 0xff00;
    (leads_away(flags, device) && !is_link_local && !is_multicast).then_some(Route {
        device,
        is_default: prefix == "00",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "00000000000000000000000000000000";

    #[test]
    fn a_default_route_of_ipv4_comes_before_other_networks() {
        let lan = "eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        let default = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        let found = |lines: &[&str]| first(lines.iter().copied().filter_map(v4));
        assert_eq!(found(&[lan, default]).as_deref(), Some("eth0"));
        assert_eq!(found(&[lan]).as_deref(), Some("eth1"));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn refusals_and_link_local_networks_of_ipv4_lead_nowhere() {
        assert_eq!(
            v4("*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0"),
            None
        );
        let link_local = u32::from_ne_bytes([169, 254, 0, 0]);
        let line = format!("eth0\t{link_local:08X}\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0");
        assert_eq!(v4(&line), None);
    }

    #[test]
    fn a_default_route_of_ipv6_is_seen_and_what_every_interface_has_is_none() {
        let with = |destination: &str, prefix: &str, flags: &str, device: &str| {
            let line = format!(
                "{destination} {prefix} {ZERO} 00 {ZERO} 00000400 00000001 00000000 {flags} {device}"
            );
            v6(&line).map(|route| route.is_default)
        };
        let rest = "0".repeat(28);
        assert_eq!(with(ZERO, "00", "00000003", "eth0"), Some(true));
        let own = format!("2001{rest}");
        assert_eq!(with(&own, "40", "00000001", "eth0"), Some(false));
        assert_eq!(with(&own, "80", "80200001", "eth0"), None);
        assert_eq!(with(&format!("fe80{rest}"), "40", "00000001", "eth0"), None);
        assert_eq!(with(&format!("ff00{rest}"), "08", "00000001", "eth0"), None);
        assert_eq!(with(ZERO, "00", "00200200", "lo"), None);
        assert_eq!(with(ZERO, "00", "00000200", "eth0"), None);
    }

    #[test]
    fn what_covers_what() {
        let both = Families { v4: true, v6: true };
        let four = Families {
            v4: true,
            v6: false,
        };
        assert!(both.covers(four) && !four.covers(both) && four.covers(Families::default()));
        assert_eq!(both.and(four), four);
        assert!(Families::default().is_empty() && !four.is_empty());
    }
}
