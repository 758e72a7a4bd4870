//! The management network: one bridge, a link for each node, routes to pods and services.
//!
//! ```text
//! sandbox's own namespace          node w-1
//!   mgmt 10.89.0.1/24 ────veth──── eth0 10.89.0.101/24   default via 10.89.0.1
//!   fd89::1/64                     fd89::101/64          pods of every other node via that node
//!   pods of each node via the node
//!   services via cp-1 (its kube-proxy translates)
//!   default via 10.89.129.1 dev outside, while the keeper's pasta runs
//!   net-NAME ──veth──── further interfaces of nodes that are machines
//! ```

use std::net::IpAddr;

use super::machine::MACHINE_USER;
use super::registry;
use ipnet::IpNet;
use vial_rpc::{NetworkSpec, NodeLink, Route, Tap};
use vial_spec::{ClusterSpec, Cni, IpFamily, LOAD_BALANCER_CIDRS, MGMT, NodeConfig};

/// The bridge's name.
const BRIDGE: &str = MGMT;

/// The sandbox's own addresses on the management network: gateway and name server of the nodes, the primary first.
#[must_use]
pub fn gateways(family: IpFamily) -> Vec<IpAddr> {
    let v4 = IpAddr::from([10, 89, 0, 1]);
    let v6 = IpAddr::from([0xfd89, 0, 0, 0, 0, 0, 0, 1]);
    match family {
        IpFamily::Ipv4 => vec![v4],
        IpFamily::Ipv6 => vec![v6],
        IpFamily::Dual => vec![v4, v6],
    }
}

/// The wanted network of a cluster.
pub(super) fn network(spec: &ClusterSpec) -> NetworkSpec {
    let family = spec.network.ip_family;
    let mut routes = pod_routes(spec, None);
    if let Some(node) = spec.control_plane() {
        let services = spec.network.service_cidrs.iter();
        routes.extend(services.filter_map(|cidr| route(cidr, &node.addresses(family))));
    }
    NetworkSpec {
        bridge: BRIDGE.into(),
        addresses: gateways(family).into_iter().map(on_link).collect(),
        nodes: spec
            .nodes
            .iter()
            .map(|node| link(spec, node))
            .chain([registry::link(spec)])
            .collect(),
        routes,
        mtu: 0,
        refused: refused(spec),
    }
}

/// What must never leave the sandbox, although there may be a way out: addresses that mean something in the cluster only
/// (of pods and load balancers that are not there), what no router may carry (link-local, RFC 3927), and IPv4 addresses
/// written as IPv6 ones, which a socket of the host would take for its own loopback addresses.
fn refused(spec: &ClusterSpec) -> Vec<String> {
    let family = spec.network.ip_family;
    let pods = spec.network.pod_cidrs.iter().map(ToString::to_string);
    let others = LOAD_BALANCER_CIDRS
        .into_iter()
        .chain(["169.254.0.0/16", "::ffff:0:0/96"]);
    let others = others.filter(|text| match family {
        IpFamily::Ipv4 => !text.contains(':'),
        IpFamily::Ipv6 => text.contains(':'),
        IpFamily::Dual => true,
    });
    pods.chain(others.map(ToOwned::to_owned)).collect()
}

pub(super) fn link(spec: &ClusterSpec, node: &NodeConfig) -> NodeLink {
    let family = spec.network.ip_family;
    let mut routes = default_routes(family);
    routes.extend(pod_routes(spec, Some(&node.name)));
    NodeLink {
        node: node.name.clone(),
        addresses: node.addresses(family).into_iter().map(on_link).collect(),
        routes,
        mac: String::new(),
        machine_user: match node.machine {
            Some(_) => MACHINE_USER,
            None => 0,
        },
        taps: taps(node),
    }
}

/// Of a machine's further interfaces.
fn taps(node: &NodeConfig) -> Vec<Tap> {
    let nics = node.machine.iter().flat_map(|machine| &machine.nics);
    let taps = nics.zip(1..).map(|(nic, number)| Tap {
        name: format!("tap{number}"),
        bridge: match nic.network.as_str() {
            MGMT => BRIDGE.into(),
            name => format!("net-{name}"),
        },
    });
    taps.collect()
}

/// Everything else by way of the sandbox.
pub(super) fn default_routes(family: IpFamily) -> Vec<Route> {
    gateways(family)
        .into_iter()
        .map(|gateway| Route {
            destination: if gateway.is_ipv4() {
                "0.0.0.0/0"
            } else {
                "::/0"
            }
            .into(),
            gateway: gateway.to_string(),
        })
        .collect()
}

/// Routes to the pods of every node but `except`. Without a CNI of vial's the add-on lays them.
pub(super) fn pod_routes(spec: &ClusterSpec, except: Option<&str>) -> Vec<Route> {
    if spec.network.cni == Cni::None {
        return Vec::new();
    }
    let others = spec
        .nodes
        .iter()
        .filter(|node| Some(node.name.as_str()) != except);
    others
        .flat_map(|node| {
            let via = node.addresses(spec.network.ip_family);
            spec.node_pod_cidrs(node)
                .iter()
                .filter_map(|cidr| route(cidr, &via))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A route via that of the addresses which is of the same family.
fn route(destination: &IpNet, via: &[IpAddr]) -> Option<Route> {
    let gateway = via
        .iter()
        .find(|address| address.is_ipv4() == destination.addr().is_ipv4())?;
    Some(Route {
        destination: destination.to_string(),
        gateway: gateway.to_string(),
    })
}

pub(super) fn on_link(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 24 } else { 64 })
}
