//! What a Service asks of its load balancer, and what its status shall say; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, PortStatus, Service};

use super::book::Addresses;

/// What runs over a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn of(text: Option<&str>) -> Self {
        match text {
            Some("UDP") => Self::Udp,
            Some("SCTP") => Self::Sctp,
            _ => Self::Tcp,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A port of a Service.
pub(super) type Port = (Protocol, u16);

/// Why the host cannot reach a port: the `error` of a port in the status, and the reason of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unserved {
    /// It cannot be bound: most likely another program listens there, at 0.0.0.0.
    NotAvailable,
    /// Only TCP and UDP are carried.
    Protocol,
    /// `loadBalancerSourceRanges` leaves out the host.
    SourceRanges,
}

impl Unserved {
    /// For an event.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NotAvailable => "PortNotAvailable",
            Self::Protocol => "ProtocolNotSupported",
            Self::SourceRanges => "NotInSourceRanges",
        }
    }

    /// As `PortStatus.error` wants it: `DOMAIN/CamelCase`.
    fn error(self) -> String {
        format!("vial.dev/{}", self.reason())
    }

    /// For people.
    pub(super) fn explain(self, (protocol, port): Port, address: Ipv4Addr) -> String {
        let why = match self {
            Self::NotAvailable => "another program has it",
            Self::Protocol => "only TCP and UDP are carried",
            Self::SourceRanges => "loadBalancerSourceRanges leave out 127.0.0.1",
        };
        format!(
            "{} port {port} cannot be reached at {address}: {why}",
            protocol.text()
        )
    }
}

/// A Service that wants a load balancer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// In the order of the Service.
    pub(super) v4: bool,
    pub(super) v6: bool,
    /// Its primary cluster address, where the host's connections go.
    pub(super) target: IpAddr,
    pub(super) ports: BTreeSet<Port>,
    /// `spec.loadBalancerIP`.
    pub(super) wish: Option<IpAddr>,
    /// May the host connect, after `spec.loadBalancerSourceRanges`?
    pub(super) admits_host: bool,
}

/// `None` for a Service that is of another type, or meant for another load balancer.
pub(super) fn wanted(service: &Service) -> Option<Wanted> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() != Some("LoadBalancer") || spec.load_balancer_class.is_some() {
        return None;
    }
    let cluster_ips = spec.cluster_ips.iter().flatten();
    let cluster_ips: Vec<IpAddr> = cluster_ips.filter_map(|ip| ip.parse().ok()).collect();
    let ports = spec.ports.iter().flatten();
    Some(Wanted {
        v4: cluster_ips.iter().any(IpAddr::is_ipv4),
        v6: cluster_ips.iter().any(IpAddr::is_ipv6),
        target: *cluster_ips.first()?,
        ports: ports
            .filter_map(|port| {
                Some((
                    Protocol::of(port.protocol.as_deref()),
                    port.port.try_into().ok()?,
                ))
            })
            .collect(),
        wish: spec
            .load_balancer_ip
            .as_deref()
            .and_then(|ip| ip.parse().ok()),
        admits_host: admits_host(
            spec.load_balancer_source_ranges
                .as_deref()
                .unwrap_or_default(),
        ),
    })
}

/// The host's clients come from a loopback address.
fn admits_host(ranges: &[String]) -> bool {
    let own = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    let mut ranges = ranges
        .iter()
        .filter_map(|range| range.trim().parse::<IpNet>().ok())
        .peekable();
    ranges.peek().is_none() || ranges.any(|range| own.iter().any(|own| range.contains(own)))
}

/// What `status.loadBalancer.ingress` shall be.
///
/// The virtual addresses have the mode VIP, so that kube-proxy takes them on every node; the loopback one has the mode
/// Proxy, so that it does not: 127.0.0.0/8 is each node's own.
pub(super) fn ingress(
    wanted: &Wanted,
    addresses: Addresses,
    unserved: &BTreeMap<Port, Unserved>,
) -> Vec<LoadBalancerIngress> {
    let mut families = vec![(wanted.v4, addresses.v4()), (wanted.v6, addresses.v6())];
    if wanted.target.is_ipv6() {
        families.reverse();
    }
    let virtual_ones = families.into_iter().filter(|(has, _)| *has);
    let mut all: Vec<_> = virtual_ones
        .map(|(_, address)| entry(address, "VIP"))
        .collect();
    let mut host = entry(addresses.loopback().into(), "Proxy");
    // Where one port has an error, every port has to be in the list.
    if !unserved.is_empty() {
        let ports = wanted.ports.iter().map(|port| PortStatus {
            port: port.1.into(),
            protocol: port.0.text().to_owned(),
            error: unserved.get(port).map(|why| why.error()),
        });
        host.ports = Some(ports.collect());
    }
    all.push(host);
    all
}

fn entry(address: IpAddr, mode: &str) -> LoadBalancerIngress {
    LoadBalancerIngress {
        ip: Some(address.to_string()),
        ip_mode: Some(mode.to_owned()),
        ..LoadBalancerIngress::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec}))
            .expect("a service")
    }

    fn web() -> Value {
        json!({
            "type": "LoadBalancer", "clusterIPs": ["10.96.0.9", "fd00:10:96::9"],
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}, {"port": 53, "protocol": "UDP"}],
        })
    }

    fn with(field: &str, value: Value) -> Service {
        let mut spec = web();
        spec[field] = value;
        service(spec)
    }

    #[test]
    fn only_load_balancers_without_a_class_are_ours() {
        assert!(wanted(&service(web())).is_some());
        assert_eq!(wanted(&with("type", json!("NodePort"))), None);
        assert_eq!(
            wanted(&with("loadBalancerClass", json!("example.com/x"))),
            None
        );
        assert_eq!(wanted(&Service::default()), None);
    }

    #[test]
    fn the_status_has_an_address_for_each_family_and_one_for_the_host() {
        let addresses = Addresses {
            block: 2,
            number: 5,
        };
        let modes = |service: &Service| {
            let wanted = wanted(service).expect("ours");
            let all = ingress(&wanted, addresses, &BTreeMap::new());
            let texts = all.into_iter().map(|one| {
                assert_eq!(one.ports, None);
                format!("{} {}", one.ip.unwrap(), one.ip_mode.unwrap())
            });
            texts.collect::<Vec<_>>()
        };
        let (v4, v6, host) = ("10.89.128.5 VIP", "fd89:0:0:128::5 VIP", "127.89.2.5 Proxy");
        assert_eq!(modes(&service(web())), [v4, v6, host]);
        assert_eq!(modes(&with("clusterIPs", json!(["10.96.0.9"]))), [v4, host]);
        assert_eq!(
            modes(&with("clusterIPs", json!(["fd00:10:96::9"]))),
            [v6, host]
        );
        assert_eq!(
            modes(&with("clusterIPs", json!(["fd00:10:96::9", "10.96.0.9"]))),
            [v6, v4, host]
        );
    }

    #[test]
    fn with_one_port_in_error_every_port_is_listed() {
        let wanted = wanted(&service(web())).expect("ours");
        let unserved = BTreeMap::from([((Protocol::Tcp, 80), Unserved::NotAvailable)]);
        let all = ingress(
            &wanted,
            Addresses {
                block: 2,
                number: 5,
            },
            &unserved,
        );
        let host = serde_json::to_value(all.last()).expect("JSON");
        assert_eq!(
            host["ports"],
            json!([
                {"port": 80, "protocol": "TCP", "error": "vial.dev/PortNotAvailable"},
                {"port": 53, "protocol": "UDP"},
            ])
        );
        assert!(all[0].ports.is_none());
    }

    #[test]
    fn source_ranges_may_leave_the_host_out() {
        for (ranges, admitted) in [
            (json!([]), true),
            (json!(["10.0.0.0/8"]), false),
            (json!(["10.0.0.0/8", " 127.0.0.0/8 "]), true),
            (json!(["0.0.0.0/0"]), true),
            (json!(["::/0"]), true),
        ] {
            let wanted = wanted(&with("loadBalancerSourceRanges", ranges.clone())).expect("ours");
            assert_eq!(wanted.admits_host, admitted, "{ranges}");
        }
    }
}
