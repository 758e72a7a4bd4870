//! Addresses: families, CIDRs, overlaps.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{FieldPath, Overrides, Problems};
use crate::cidr;
use crate::file::{CidrList, File};
use crate::{
    IpFamily, LOAD_BALANCER_CIDRS, MANAGEMENT_CIDRS, NODE_POD_PREFIX_V4, NODE_POD_PREFIX_V6,
    NetworkConfig, OUTBOUND_CIDRS, POD_SUBNET_BITS, defaults,
};

/// Ranges that mean something else to every host: "this network", loopback, link-local, multicast and reserved
/// (RFC 6890, RFC 4291).
const SPECIAL: [(&str, &str); 8] = [
    ("0.0.0.0/8", "addresses of \"this network\""),
    ("127.0.0.0/8", "loopback addresses"),
    ("169.254.0.0/16", "link-local addresses"),
    ("224.0.0.0/4", "multicast addresses"),
    ("240.0.0.0/4", "reserved addresses"),
    ("::/96", "loopback and unspecified addresses"),
    ("fe80::/10", "link-local addresses"),
    ("ff00::/8", "multicast addresses"),
];

pub(super) fn resolve(
    file: &File,
    overrides: &Overrides,
    problems: &mut Problems,
) -> NetworkConfig {
    let network = FieldPath::root().key("network");
    let family = overrides.ip_family.or(file.ip_family).unwrap_or_default();
    let pod = Kind {
        path: network.key("podCIDR"),
        defaults: [defaults::POD_CIDR_V4, defaults::POD_CIDR_V6],
    };
    let service = Kind {
        path: network.key("serviceCIDR"),
        defaults: [defaults::SERVICE_CIDR_V4, defaults::SERVICE_CIDR_V6],
    };
    let pods = pod.resolve(file.network.pod_cidr.as_ref(), family, problems);
    let services = service.resolve(file.network.service_cidr.as_ref(), family, problems);

    for (place, net) in &pods {
        let longest = match net {
            IpNet::V4(_) => NODE_POD_PREFIX_V4 - POD_SUBNET_BITS,
            IpNet::V6(_) => NODE_POD_PREFIX_V6 - POD_SUBNET_BITS,
        };
        if net.prefix_len() > longest {
            let each = if net.addr().is_ipv4() {
                NODE_POD_PREFIX_V4
            } else {
                NODE_POD_PREFIX_V6
            };
            let message = format!(
                "{net} is too small: every node gets a /{each} of it, so it must be a /{longest} at least"
            );
            problems.add(place, message);
        }
    }
    for (place, net) in &services {
        // The upper bounds are kube-apiserver's; below the lower ones there is no 10th address, which is the DNS'.
        let (largest, smallest) = if net.addr().is_ipv4() {
            (12, 28)
        } else {
            (108, 124)
        };
        if !(largest..=smallest).contains(&net.prefix_len()) {
            let size = if net.prefix_len() < largest {
                "large"
            } else {
                "small"
            };
            problems.add(
                place,
                format!("{net} is too {size}: it must be between /{largest} and /{smallest}"),
            );
        }
    }
    check_apart(
        &pods,
        &services,
        file.network.service_cidr.is_some(),
        problems,
    );

    NetworkConfig {
        ip_family: family,
        pod_cidrs: pods.into_iter().map(|(_, net)| net).collect(),
        service_cidrs: services.into_iter().map(|(_, net)| net).collect(),
        cni: overrides.cni.or(file.network.cni).unwrap_or_default(),
        dns_upstreams: upstreams(
            &network.key("dns").key("upstreams"),
            &file.network.dns.upstreams,
            problems,
        ),
    }
}

/// Pods' or services' addresses.
struct Kind {
    path: FieldPath,
    /// IPv4 and IPv6.
    defaults: [&'static str; 2],
}

impl Kind {
    /// One network for each family, IPv4 first, each with the place where it is written.
    fn resolve(
        &self,
        written: Option<&CidrList>,
        family: IpFamily,
        problems: &mut Problems,
    ) -> Vec<(FieldPath, IpNet)> {
        let wanted = |net: &IpNet| match family {
            IpFamily::Ipv4 => net.addr().is_ipv4(),
            IpFamily::Ipv6 => net.addr().is_ipv6(),
            IpFamily::Dual => true,
        };
        let Some(written) = written else {
            let nets = self
                .defaults
                .iter()
                .filter_map(|text| cidr::parse(text).ok());
            return nets
                .filter(wanted)
                .map(|net| (self.path.clone(), net))
                .collect();
        };
        let mut found: Vec<(FieldPath, IpNet)> = Vec::new();
        let mut readable = true;
        for (number, text) in written.texts().into_iter().enumerate() {
            let place = match written {
                CidrList::Text(_) => self.path.clone(),
                CidrList::List(_) => self.path.index(number),
            };
            let net = match cidr::parse(text) {
                Ok(net) => net,
                Err(error) => {
                    problems.add(&place, error.to_string());
                    readable = false;
                    continue;
                }
            };
            let version = version(&net);
            if !wanted(&net) {
                let message = format!("{net} is {version}, but ipFamily is {family}");
                problems.add_hint(
                    &place,
                    message,
                    Some("leave it out, or write ipFamily: dual".to_owned()),
                );
            } else if found
                .iter()
                .any(|(_, other)| other.addr().is_ipv4() == net.addr().is_ipv4())
            {
                problems.add(
                    &place,
                    format!(
                        "{net} is the second {version} network, one for each family is possible"
                    ),
                );
            } else {
                special(&place, &net, problems);
                found.push((place, net));
            }
        }
        for (default, v4) in self.defaults.iter().zip([true, false]) {
            let needed = cidr::parse(default).is_ok_and(|net| wanted(&net));
            if readable && needed && !found.iter().any(|(_, net)| net.addr().is_ipv4() == v4) {
                let (missing, other) = if v4 {
                    ("IPv4", "ipv6")
                } else {
                    ("IPv6", "ipv4")
                };
                let hint = match family {
                    IpFamily::Dual => {
                        format!("add one, as {default} is, or write ipFamily: {other}")
                    }
                    IpFamily::Ipv4 | IpFamily::Ipv6 => format!("add one, as {default} is"),
                };
                let message = format!("there is no {missing} network, but ipFamily is {family}");
                problems.add_hint(&self.path, message, Some(hint));
            }
        }
        found.sort_by_key(|(_, net)| net.addr().is_ipv6());
        found
    }
}

fn version(net: &IpNet) -> &'static str {
    if net.addr().is_ipv4() { "IPv4" } else { "IPv6" }
}

fn special(place: &FieldPath, net: &IpNet, problems: &mut Problems) {
    let ranges = SPECIAL
        .iter()
        .filter_map(|(text, what)| Some((text.parse::<IpNet>().ok()?, what)));
    // One reason is enough, and 0.0.0.0/0 overlaps with all of them.
    if let Some((range, what)) = ranges
        .into_iter()
        .find(|(range, _)| cidr::overlap(range, net))
    {
        problems.add(place, format!("{net} contains {what} ({range})"));
    }
}

/// Pods, services, the management network and load balancers must not share an address.
fn check_apart(
    pods: &[(FieldPath, IpNet)],
    services: &[(FieldPath, IpNet)],
    services_written: bool,
    problems: &mut Problems,
) {
    for (place, net) in pods.iter().chain(services) {
        let management = MANAGEMENT_CIDRS.map(|text| (text, "the management network"));
        let balancers = LOAD_BALANCER_CIDRS.map(|text| (text, "the addresses of load balancers"));
        let outside = OUTBOUND_CIDRS.map(|text| (text, "the link to the outside"));
        let overlaps = |(text, _): &(&str, &str)| {
            text.parse()
                .is_ok_and(|own: IpNet| cidr::overlap(net, &own))
        };
        // One reason is enough: what is near both is too large.
        if let Some((text, what)) = management
            .into_iter()
            .chain(balancers)
            .chain(outside)
            .find(overlaps)
        {
            problems.add(place, format!("{net} overlaps with {what} {text}"));
        }
    }
    let pairs = pods
        .iter()
        .flat_map(|pod| services.iter().map(move |service| (pod, service)));
    for ((pod_place, pod), (service_place, service)) in
        pairs.filter(|(a, b)| cidr::overlap(&a.1, &b.1))
    {
        // What is not written cannot be mended.
        if services_written {
            problems.add(
                service_place,
                format!("{service} overlaps with the pods' network {pod}"),
            );
        } else {
            problems.add(
                pod_place,
                format!("{pod} overlaps with the services' network {service}"),
            );
        }
    }
}

/// `192.0.2.53`, `2001:db8::1`, or either with a port.
fn upstreams(path: &FieldPath, texts: &[String], problems: &mut Problems) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or(text);
        let address = bare
            .parse::<IpAddr>()
            .map(|ip| SocketAddr::new(ip, 53))
            .or_else(|_| text.parse());
        match address {
            Ok(address) if address.port() != 0 => found.push(address),
            _ => {
                let hint =
                    "write 192.0.2.53, 192.0.2.53:5353, 2001:db8::1 or \"[2001:db8::1]:5353\""
                        .to_owned();
                problems.add_hint(
                    &path.index(number),
                    format!("{text:?} is not the address of a server"),
                    Some(hint),
                );
            }
        }
    }
    found
}
