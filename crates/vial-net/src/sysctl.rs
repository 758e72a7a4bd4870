//! Kernel settings of a network namespace, written from a thread inside it (/proc/sys/net shows the namespace of
//! whoever looks it up).

use std::path::Path;

use crate::NetError;
use crate::error::During;

/// No duplicate address detection: a fresh address is usable at once, and nobody else is there.
const NO_DAD: [&str; 4] = [
    "ipv6/conf/all/accept_dad=0",
    "ipv6/conf/default/accept_dad=0",
    "ipv6/conf/all/dad_transmits=0",
    "ipv6/conf/default/dad_transmits=0",
];

/// The port of a connection that was closed is used again after a second, not after a minute (RFC 6191; kernel
/// documentation, networking/ip-sysctl): who floods a port that leads here would soon have used up the 28,000 that there
/// are towards one address.
const REUSE: &str = "ipv4/tcp_tw_reuse=1";

/// Of the sandbox's own namespace: it switches between nodes, so its rules never see what they say to each other, and
/// routes what is for the outside; where there is no way out, that is told at once. A node knows the others itself.
const SANDBOX: [&str; 10] = [
    REUSE,
    "ipv4/ip_forward=1",
    "ipv6/conf/all/forwarding=1",
    "ipv4/conf/all/rp_filter=0",
    "ipv4/conf/default/rp_filter=0",
    "ipv4/conf/all/send_redirects=0",
    "ipv4/conf/default/send_redirects=0",
    "bridge/bridge-nf-call-iptables=0",
    "bridge/bridge-nf-call-ip6tables=0",
    "bridge/bridge-nf-call-arptables=0",
];

/// Of a node: routes between pods, and the rules of kube-proxy see bridged traffic of pods, too.
const NODE: [&str; 8] = [
    REUSE,
    "ipv4/ip_forward=1",
    "ipv6/conf/all/forwarding=1",
    "ipv6/conf/default/forwarding=1",
    "ipv4/conf/all/rp_filter=0",
    "ipv4/conf/default/rp_filter=0",
    "bridge/bridge-nf-call-iptables=1",
    "bridge/bridge-nf-call-ip6tables=1",
];

/// Of a namespace that only passes a machine's frames on: no rule sees them, and nobody here has an address.
const MACHINE: [&str; 5] = [
    "ipv6/conf/all/disable_ipv6=1",
    "ipv6/conf/default/disable_ipv6=1",
    "bridge/bridge-nf-call-iptables=0",
    "bridge/bridge-nf-call-ip6tables=0",
    "bridge/bridge-nf-call-arptables=0",
];

/// Sets up the calling thread's namespace as that of a machine's node.
pub(crate) fn machine() -> Result<(), NetError> {
    MACHINE.iter().try_for_each(|setting| write(setting))
}

/// Sets up the calling thread's namespace as a sandbox's own.
pub(crate) fn sandbox() -> Result<(), NetError> {
    NO_DAD
        .iter()
        .chain(&SANDBOX)
        .try_for_each(|setting| write(setting))
}

/// Sets up the calling thread's namespace as a node's.
pub(crate) fn node() -> Result<(), NetError> {
    NO_DAD
        .iter()
        .chain(&NODE)
        .try_for_each(|setting| write(setting))
}

/// The same for an interface that was there before [`node`]: it has settings of its own.
pub(crate) fn no_dad(interface: &str) -> Result<(), NetError> {
    ["accept_dad=0", "dad_transmits=0"]
        .iter()
        .try_for_each(|setting| write(&format!("ipv6/conf/{interface}/{setting}")))
}

/// Writes `path=value`; a setting this kernel does not have (no IPv6, no br_netfilter) is left out.
fn write(setting: &str) -> Result<(), NetError> {
    let Some((name, value)) = setting.split_once('=') else {
        return Ok(());
    };
    let path = Path::new("/proc/sys/net").join(name);
    if !path.exists() {
        return Ok(());
    }
    std::fs::write(&path, value).during(|| format!("write {value} to {}", path.display()))
}
