//! Who is asked for names of the outside world.

use std::net::{IpAddr, SocketAddr};

use vial_spec::{ClusterSpec, Outbound};

/// The resolvers of vial.yaml, or else of the host as they are now (it may have joined another network); none for a
/// cluster that is sealed.
pub(super) fn upstreams(spec: &ClusterSpec) -> Vec<SocketAddr> {
    let own = &spec.network.dns_upstreams;
    match spec.outbound {
        Outbound::None => Vec::new(),
        Outbound::Auto if own.is_empty() => {
            of_host(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
        }
        Outbound::Auto => own.clone(),
    }
}

/// The name servers of a resolv.conf(5).
fn of_host(text: &str) -> Vec<SocketAddr> {
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| (address, 53).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use vial_spec::{File, Overrides};

    use super::*;

    #[test]
    fn the_hosts_resolvers_are_read_as_resolv_conf_has_them() {
        let text = "# one\nsearch example.org\nnameserver 192.0.2.1\n nameserver  2001:db8::1\nnameserver nonsense\n";
        let expected: Vec<SocketAddr> = vec![
            "192.0.2.1:53".parse().expect("v4"),
            "[2001:db8::1]:53".parse().expect("v6"),
        ];
        assert_eq!(of_host(text), expected);
    }

    #[test]
    fn a_sealed_cluster_asks_nobody() {
        let text = "apiVersion: vial/v1\nkind: Cluster\nnetwork: {dns: {upstreams: [192.0.2.1]}}\n";
        let asked = |outbound| {
            let overrides = Overrides {
                outbound: Some(outbound),
                ..Overrides::default()
            };
            let file = File::parse(text, "vial.yaml").expect("a file");
            let spec = file.validate(&overrides, &|_| unreachable!("no other file"));
            upstreams(&spec.expect("a cluster"))
        };
        assert_eq!(asked(Outbound::Auto), ["192.0.2.1:53".parse().expect("v4")]);
        assert_eq!(asked(Outbound::None), []);
    }
}
