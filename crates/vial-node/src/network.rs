//! From the network of the protocol to the wish of vial-net.

use std::collections::BTreeSet;
use std::path::Path;

use ipnet::IpNet;
use tonic::Status;
use vial_net::wish::{Interface, Network, Node, Route, Tap, mac_of};
use vial_rpc::{NetworkSpec, NodeLink};

/// Understands a network.
///
/// # Errors
/// `INVALID_ARGUMENT`, naming what is wrong.
pub(crate) fn wish(spec: &NetworkSpec) -> Result<Network, Status> {
    interface_name(&spec.bridge)?;
    Ok(Network {
        bridge: spec.bridge.clone(),
        interface: interface(&spec.addresses, &spec.routes)?,
        nodes: spec.nodes.iter().map(node).collect::<Result<_, _>>()?,
        mtu: (spec.mtu > 0).then_some(spec.mtu),
        refused: spec
            .refused
            .iter()
            .map(|text| network(text))
            .collect::<Result<_, _>>()?,
    })
}

fn node(link: &NodeLink) -> Result<Node, Status> {
    check_name(&link.node)?;
    let mac = if link.mac.is_empty() {
        mac_of(&link.node)
    } else {
        mac(&link.mac).ok_or_else(|| {
            Status::invalid_argument(format!("{:?} is no hardware address", link.mac))
        })?
    };
    let interface = interface(&link.addresses, &link.routes)?;
    Ok(match link.machine_user {
        0 => Node {
            name: link.node.clone(),
            mac,
            interface,
            machine: None,
            taps: Vec::new(),
        },
        // The machine has the hardware address and all that is on it; its cable another one.
        user => Node {
            name: link.node.clone(),
            mac: mac_of(&format!("{} (cable)", link.node)),
            interface: Interface::default(),
            machine: Some(user),
            taps: link.taps.iter().map(tap).collect::<Result<_, _>>()?,
        },
    })
}

fn tap(tap: &vial_rpc::Tap) -> Result<Tap, Status> {
    for name in [&tap.name, &tap.bridge] {
        interface_name(name)?;
    }
    Ok(Tap {
        name: tap.name.clone(),
        bridge: tap.bridge.clone(),
    })
}

fn interface_name(name: &str) -> Result<(), Status> {
    match name.len() {
        1..=15 => Ok(()),
        _ => Err(Status::invalid_argument(format!(
            "{name:?} cannot name an interface (1 to 15 bytes)"
        ))),
    }
}

/// A name that becomes a file or directory must be one path component.
pub(crate) fn check_name(name: &str) -> Result<(), Status> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(std::path::Component::Normal(only)), None) if only == name => Ok(()),
        _ => Err(Status::invalid_argument(format!("{name:?} is no name"))),
    }
}

fn network(text: &str) -> Result<IpNet, Status> {
    text.parse()
        .map_err(|_| Status::invalid_argument(format!("{text:?} is no address with a prefix")))
}

fn interface(addresses: &[String], routes: &[vial_rpc::Route]) -> Result<Interface, Status> {
    let addresses: BTreeSet<IpNet> = addresses
        .iter()
        .map(|text| network(text))
        .collect::<Result<_, _>>()?;
    let mut wanted = BTreeSet::new();
    for route in routes {
        let gateway = route.gateway.parse();
        let gateway = gateway
            .map_err(|_| Status::invalid_argument(format!("{:?} is no gateway", route.gateway)))?;
        wanted.insert(Route {
            destination: network(&route.destination)?.trunc(),
            gateway,
        });
    }
    Ok(Interface {
        addresses,
        routes: wanted,
    })
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_understood_and_routes_lose_their_host_bits() {
        let spec = NetworkSpec {
            bridge: "mgmt".into(),
            addresses: vec!["10.89.0.1/24".into(), "fd89::1/64".into()],
            nodes: vec![NodeLink {
                node: "w-1".into(),
                mac: "02:00:00:00:00:0a".into(),
                ..NodeLink::default()
            }],
            routes: vec![vial_rpc::Route {
                destination: "10.244.1.7/24".into(),
                gateway: "10.89.0.3".into(),
            }],
            mtu: 0,
            refused: vec!["169.254.0.0/16".into()],
        };
        let network = wish(&spec).unwrap();
        assert_eq!(network.nodes[0].mac, [2, 0, 0, 0, 0, 10]);
        assert_eq!(
            network
                .interface
                .routes
                .first()
                .unwrap()
                .destination
                .to_string(),
            "10.244.1.0/24"
        );
        assert_eq!(network.mtu, None);
        assert_eq!(
            network.refused.first().unwrap().to_string(),
            "169.254.0.0/16"
        );
    }

    #[test]
    fn bad_input_is_named() {
        let spec = |node: &str, address: &str| NetworkSpec {
            bridge: "mgmt".into(),
            nodes: vec![NodeLink {
                node: node.into(),
                addresses: vec![address.into()],
                ..NodeLink::default()
            }],
            ..NetworkSpec::default()
        };
        assert!(
            wish(&spec("w-1", "10.0.0.1"))
                .unwrap_err()
                .message()
                .contains("10.0.0.1")
        );
        for name in ["", "..", "a/b", "/x", "x/"] {
            assert!(wish(&spec(name, "10.0.0.1/8")).is_err(), "{name:?}");
        }
    }
}
