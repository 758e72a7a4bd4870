//! From a target, as it is known, to the addresses that lead there; pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use vial_sandbox::Network;
use vial_spec::names::did_you_mean;
use vial_spec::target::{Target, TargetPort};
use vial_spec::{ClusterSpec, Driver, NodeConfig};

use super::Unreachable;

type Ways = Result<Vec<Way>, Unreachable>;

/// An address, and whose network it is dialled from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) from: From,
    pub(crate) address: SocketAddr,
}

/// Whose network; the owned form of [`Network`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    Management,
    Node(String),
}

impl From {
    pub(crate) fn network(&self) -> Network<'_> {
        match self {
            From::Management => Network::Management,
            From::Node(name) => Network::Node(name),
        }
    }
}

/// The ways to a Service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServiceWays {
    /// By its own addresses.
    Virtual(Vec<Way>),
    /// It has none: by its endpoints, at this port of theirs.
    Headless(EndpointPort),
}

/// A port as EndpointSlices have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EndpointPort {
    /// The one of this name; a Service's only port may have the empty one.
    Named(String),
    /// A number that the Service says nothing about.
    Number(u16),
}

/// A node as another machine sees it; what listens on its loopback addresses only is reached as well.
pub(super) fn to_node(spec: &ClusterSpec, name: &str, port: &TargetPort) -> Ways {
    let target = Target::Node(name.to_owned());
    let port = number(&target, port)?;
    let node = spec.node(name).ok_or_else(|| unknown_node(spec, name))?;
    let outer = addresses(spec, node).into_iter().map(|address| Way {
        from: From::Management,
        address: (address, port).into(),
    });
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let inner = loopback.into_iter().map(|address| Way {
        from: From::Node(name.to_owned()),
        address: (address, port).into(),
    });
    Ok(outer.chain(inner).collect())
}

fn addresses(spec: &ClusterSpec, node: &NodeConfig) -> Vec<IpAddr> {
    node.addresses(spec.network.ip_family)
}

/// There is no such node.
pub(crate) fn unknown_node(spec: &ClusterSpec, name: &str) -> Unreachable {
    let names: Vec<&str> = spec.nodes.iter().map(|node| node.name.as_str()).collect();
    let hint =
        did_you_mean(name, &names).unwrap_or_else(|| format!("there is {}", names.join(", ")));
    Unreachable::Unknown {
        what: format!("cluster {} has no node {name:?}", spec.name),
        hint: Some(hint),
    }
}

/// An address: of a node as another machine sees it, of anything else as the control-plane node does.
pub(super) fn to_address(spec: &ClusterSpec, address: IpAddr, port: &TargetPort) -> Ways {
    let port = number(&Target::Address(address), port)?;
    if address.is_loopback() || address.is_unspecified() {
        return Err(Unreachable::Unsuitable(format!(
            "{address} is another place on every node: name the node, as in w-1:{port}"
        )));
    }
    let of_node = spec
        .nodes
        .iter()
        .any(|node| addresses(spec, node).contains(&address));
    if of_node {
        let address = (address, port).into();
        return Ok(vec![Way {
            from: From::Management,
            address,
        }]);
    }
    Ok(vec![from_control_plane(spec, address, port)])
}

/// Dialled from the control-plane node, which is always there: Services mean something on every node.
pub(super) fn from_control_plane(spec: &ClusterSpec, address: IpAddr, port: u16) -> Way {
    Way {
        from: spec.control_plane().map_or(From::Management, from_node),
        address: (address, port).into(),
    }
}

/// As the node does; the network of a machine is its own, and its neighbours reach what it routes.
fn from_node(node: &NodeConfig) -> From {
    match node.driver() {
        Driver::Container => From::Node(node.name.clone()),
        Driver::Vm => From::Management,
    }
}

/// A Service, at one of its ports.
pub(super) fn to_service(
    spec: &ClusterSpec,
    target: &Target,
    service: &Service,
    port: &TargetPort,
) -> Result<ServiceWays, Unreachable> {
    let found = service.spec.clone().unwrap_or_default();
    if found.type_.as_deref() == Some("ExternalName") {
        let name = found.external_name.unwrap_or_default();
        return Err(Unreachable::Unsuitable(format!(
            "{target} is only another name for {name}: name that instead"
        )));
    }
    let ports = found.ports.unwrap_or_default();
    let wanted = ports.iter().find(|one| {
        let tcp = one.protocol.as_deref().unwrap_or("TCP") == "TCP";
        tcp && match port {
            TargetPort::Number(number) => one.port == i32::from(*number),
            TargetPort::Name(name) => one.name.as_deref() == Some(name),
        }
    });
    let addresses = found.cluster_ips.or(found.cluster_ip.map(|one| vec![one]));
    let addresses: Vec<IpAddr> = addresses
        .unwrap_or_default()
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect();
    match (wanted, port) {
        (Some(wanted), _) if addresses.is_empty() => Ok(ServiceWays::Headless(
            EndpointPort::Named(wanted.name.clone().unwrap_or_default()),
        )),
        (Some(wanted), _) => {
            let port = u16::try_from(wanted.port).unwrap_or_default();
            let way = |address| from_control_plane(spec, address, port);
            Ok(ServiceWays::Virtual(
                addresses.into_iter().map(way).collect(),
            ))
        }
        (None, TargetPort::Number(number)) if ports.is_empty() && addresses.is_empty() => {
            Ok(ServiceWays::Headless(EndpointPort::Number(*number)))
        }
        (None, _) => {
            let known: Vec<String> = ports
                .iter()
                .map(|one| {
                    let name = one.name.as_deref().unwrap_or_default();
                    let protocol = one.protocol.as_deref().unwrap_or("TCP");
                    let number = match protocol {
                        "TCP" => one.port.to_string(),
                        other => format!("{}/{}", one.port, other.to_lowercase()),
                    };
                    if name.is_empty() {
                        number
                    } else {
                        format!("{name} ({number})")
                    }
                })
                .collect();
            Err(no_port(target, port, &known))
        }
    }
}

/// The endpoints of a Service without an address of its own; ready ones, in no particular order.
pub(super) fn to_endpoints(
    spec: &ClusterSpec,
    target: &Target,
    slices: &[EndpointSlice],
    port: &EndpointPort,
) -> Ways {
    let mut ways = Vec::new();
    for slice in slices {
        let port = match port {
            EndpointPort::Number(number) => Some(*number),
            EndpointPort::Named(name) => slice
                .ports
                .iter()
                .flatten()
                .find(|one| one.name.as_deref().unwrap_or_default() == name)
                .and_then(|one| one.port)
                .and_then(|port| u16::try_from(port).ok()),
        };
        let Some(port) = port else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|found| found.ready);
            if ready == Some(false) {
                continue;
            }
            // Consumers take the first one only (discovery/v1 Endpoint).
            let address = endpoint.addresses.first().and_then(|one| one.parse().ok());
            ways.extend(address.map(|address| from_control_plane(spec, address, port)));
        }
    }
    if ways.is_empty() {
        return Err(Unreachable::NotReady(format!(
            "{target} has no ready endpoints"
        )));
    }
    Ok(ways)
}

/// A Pod, dialled from the node it is on: that works whatever connects the pods.
pub(super) fn to_pod(spec: &ClusterSpec, pod: &Pod, port: &TargetPort) -> Ways {
    let target = Target::Pod {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
    };
    let port = pod_port(&target, pod, port)?;
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_default();
    if phase == "Succeeded" || phase == "Failed" {
        return Err(Unreachable::NotReady(format!(
            "{target} has ended ({phase})"
        )));
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let node = node.and_then(|node| spec.node(node));
    let listed = status
        .pod_ips
        .unwrap_or_default()
        .into_iter()
        .map(|one| one.ip);
    let mut addresses: Vec<IpAddr> = listed.filter_map(|one| one.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(status.pod_ip.and_then(|one| one.parse::<IpAddr>().ok()));
    }
    if addresses.is_empty() {
        let reason = if phase.is_empty() {
            "Pending"
        } else {
            phase.as_str()
        };
        return Err(Unreachable::NotReady(format!(
            "{target} has no address yet ({reason})"
        )));
    }
    let way = |address| match node {
        Some(node) => Way {
            from: from_node(node),
            address: (address, port).into(),
        },
        None => from_control_plane(spec, address, port),
    };
    Ok(addresses.into_iter().map(way).collect())
}

fn pod_port(target: &Target, pod: &Pod, port: &TargetPort) -> Result<u16, Unreachable> {
    let name = match port {
        TargetPort::Number(number) => return Ok(*number),
        TargetPort::Name(name) => name,
    };
    let spec = pod.spec.clone().unwrap_or_default();
    let containers = spec.containers.into_iter();
    let containers = containers.chain(spec.init_containers.unwrap_or_default());
    let ports: Vec<_> = containers
        .flat_map(|container| container.ports.unwrap_or_default())
        .filter(|one| one.protocol.as_deref().unwrap_or("TCP") == "TCP")
        .collect();
    let named = ports.iter().find(|one| one.name.as_ref() == Some(name));
    if let Some(number) = named.and_then(|one| u16::try_from(one.container_port).ok()) {
        return Ok(number);
    }
    let known: Vec<String> = ports.into_iter().filter_map(|one| one.name).collect();
    Err(no_port(target, port, &known))
}

/// The number, where names mean nothing.
pub(super) fn number(target: &Target, port: &TargetPort) -> Result<u16, Unreachable> {
    match port {
        TargetPort::Number(number) => Ok(*number),
        TargetPort::Name(name) => Err(Unreachable::Unsuitable(format!(
            "{target} has no names for its ports, give {name:?} as a number"
        ))),
    }
}

fn no_port(target: &Target, port: &TargetPort, known: &[String]) -> Unreachable {
    Unreachable::Unknown {
        what: format!("{target} has no port {port}"),
        hint: Some(match known {
            [] => "it names none".to_owned(),
            known => format!("it has {}", known.join(", ")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vial_spec::{File, Overrides};

    use super::*;

    fn spec() -> ClusterSpec {
        let overrides = Overrides {
            name: Some("dev".into()),
            ..Overrides::default()
        };
        File::default()
            .validate(&overrides, &|_| unreachable!("no file is named"))
            .expect("valid")
    }

    fn shown(ways: Ways) -> Vec<String> {
        let show = |way: Way| match way.from {
            From::Management => way.address.to_string(),
            From::Node(node) => format!("{} from {node}", way.address),
        };
        ways.expect("ways").into_iter().map(show).collect()
    }

    fn service(spec_json: serde_json::Value) -> Service {
        let object =
            json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec_json});
        serde_json::from_value(object).expect("a Service")
    }

    fn to(service: &Service, port: &str) -> Result<ServiceWays, Unreachable> {
        let target = "svc/default/web".parse().expect("a target");
        to_service(&spec(), &target, service, &port.parse().expect("a port"))
    }

    #[test]
    fn a_node_is_reached_from_outside_first() {
        assert_eq!(
            shown(to_node(&spec(), "w-1", &22.into())),
            [
                "10.89.0.101:22",
                "[fd89::101]:22",
                "127.0.0.1:22 from w-1",
                "[::1]:22 from w-1"
            ]
        );
        let error = to_node(&spec(), "w1", &22.into()).expect_err("unknown");
        assert_eq!(error.to_string(), "cluster dev has no node \"w1\"");
        assert_eq!(error.hint(), Some("did you mean \"w-1\"?"));
    }

    #[test]
    fn what_a_machine_routes_is_dialled_by_its_neighbour_and_its_loopback_by_the_link() {
        let overrides = Overrides {
            vm: true,
            workers: Some(1),
            ..Overrides::default()
        };
        let spec = File::default().validate(&overrides, &|_| unreachable!("no file is named"));
        let spec = spec.expect("valid");
        let ways = shown(to_node(&spec, "w-1", &22.into()));
        let loopback = ["127.0.0.1:22 from w-1", "[::1]:22 from w-1"];
        assert_eq!(ways[..2], ["10.89.0.101:22", "[fd89::101]:22"]);
        assert_eq!(ways[2..], loopback);
        let service = "10.96.0.1".parse().expect("an address");
        assert_eq!(
            shown(to_address(&spec, service, &443.into())),
            ["10.96.0.1:443"]
        );
        let pod = json!({
            "metadata": {"name": "web", "namespace": "default"}, "spec": {"nodeName": "w-1", "containers": []},
            "status": {"phase": "Running", "podIP": "10.244.9.3"}
        });
        let pod = serde_json::from_value(pod).expect("a Pod");
        assert_eq!(shown(to_pod(&spec, &pod, &80.into())), ["10.244.9.3:80"]);
    }

    #[test]
    fn addresses_are_dialled_from_where_they_mean_something() {
        let ways =
            |address: &str| to_address(&spec(), address.parse().expect("an address"), &80.into());
        assert_eq!(shown(ways("fd89::101")), ["[fd89::101]:80"]);
        assert_eq!(shown(ways("10.96.0.1")), ["10.96.0.1:80 from cp-1"]);
        assert!(matches!(ways("127.0.0.1"), Err(Unreachable::Unsuitable(_))));
    }

    #[test]
    fn a_service_has_the_ports_that_it_says() {
        let web = service(json!({
            "clusterIP": "10.96.3.7", "clusterIPs": ["10.96.3.7", "fd00:10:96::3"],
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
        }));
        for port in ["80", "http"] {
            let Ok(ServiceWays::Virtual(ways)) = to(&web, port) else {
                panic!("{port}")
            };
            assert_eq!(
                shown(Ok(ways)),
                ["10.96.3.7:80 from cp-1", "[fd00:10:96::3]:80 from cp-1"]
            );
        }
        for port in ["53", "htp"] {
            let error = to(&web, port).expect_err("no such port");
            assert_eq!(
                error.hint(),
                Some("it has http (80), dns (53/udp)"),
                "{error}"
            );
        }
        let other = service(json!({"type": "ExternalName", "externalName": "w-1.vial"}));
        assert!(
            to(&other, "80")
                .expect_err("a name")
                .to_string()
                .contains("w-1.vial")
        );
    }

    #[test]
    fn one_without_addresses_is_reached_by_its_ready_endpoints() {
        let headless = service(
            json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "db", "port": 1}]}),
        );
        let Ok(ServiceWays::Headless(port)) = to(&headless, "db") else {
            panic!()
        };
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4", "metadata": {"name": "web-1"},
            "ports": [{"name": "db", "port": 5432}],
            "endpoints": [
                {"addresses": ["10.244.9.3"], "conditions": {"ready": true}},
                {"addresses": ["10.244.9.4"], "conditions": {"ready": false}}
            ]
        }))
        .expect("a slice");
        let target = "svc/default/web".parse().expect("a target");
        let ways = |slices: &[EndpointSlice]| to_endpoints(&spec(), &target, slices, &port);
        assert_eq!(shown(ways(&[slice])), ["10.244.9.3:5432 from cp-1"]);
        assert!(matches!(ways(&[]), Err(Unreachable::NotReady(_))));
    }

    #[test]
    fn a_pod_is_dialled_from_its_node() {
        let pod = |status: serde_json::Value| -> Pod {
            let object = json!({
                "metadata": {"name": "db-0", "namespace": "default"},
                "spec": {"nodeName": "w-2", "containers": [{"name": "c", "ports": [{"name": "db", "containerPort": 5432}]}]},
                "status": status
            });
            serde_json::from_value(object).expect("a Pod")
        };
        let running = pod(
            json!({"phase": "Running", "podIP": "10.244.10.2", "podIPs": [{"ip": "10.244.10.2"}]}),
        );
        let named = "db".parse().expect("a name");
        assert_eq!(
            shown(to_pod(&spec(), &running, &named)),
            ["10.244.10.2:5432 from w-2"]
        );
        assert_eq!(
            shown(to_pod(&spec(), &running, &9.into())),
            ["10.244.10.2:9 from w-2"]
        );
        for (status, word) in [
            (json!({"phase": "Pending"}), "Pending"),
            (json!({"phase": "Failed"}), "ended"),
        ] {
            let error = to_pod(&spec(), &pod(status), &named).expect_err("not ready");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
