//! The validated specification of a cluster: every default filled in, every invariant checked.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cidr;
use crate::machine::{Driver, Machine};
use crate::port::PortForward;
use crate::sandbox::SandboxConfig;

/// How many workers a cluster can have.
pub const MAX_WORKERS: u32 = 20;
/// How many control-plane nodes the address plan has room for.
pub const MAX_CONTROL_PLANES: u32 = 9;
/// The management network's addresses, the same in every cluster: IPv4 and IPv6.
pub const MANAGEMENT_CIDRS: [&str; 2] = ["10.89.0.0/24", "fd89::/64"];
/// The virtual addresses of Services of type LoadBalancer, the same range in every cluster: IPv4 and IPv6.
pub const LOAD_BALANCER_CIDRS: [&str; 2] = ["10.89.128.0/24", "fd89:0:0:128::/64"];
/// The link between a sandbox and the process that carries its connections outside: IPv4 and IPv6.
pub const OUTBOUND_CIDRS: [&str; 2] = ["10.89.129.0/30", "fd89:0:0:129::/64"];
/// The label and the taint of control-plane nodes.
pub const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";
/// Prefix length of one node's share of the pods' IPv4 addresses.
pub const NODE_POD_PREFIX_V4: u8 = 24;
/// Prefix length of one node's share of the pods' IPv6 addresses.
pub const NODE_POD_PREFIX_V6: u8 = 64;
/// The pods' network is divided into 2⁵ shares at least, for nine control planes and twenty workers.
pub const POD_SUBNET_BITS: u8 = 5;

/// What a cluster shall be. Only validation (`File::validate`, flags merged) makes one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// A DNS label of at most 32 characters.
    pub name: String,
    /// The node image, as `NAME:TAG`: `vial/node:v1.36.3`.
    pub node_image: String,
    /// Addresses and how pods are connected.
    pub network: NetworkConfig,
    /// By component name (`kube-apiserver`, `kubelet`, …): what is changed of vial's defaults.
    pub components: BTreeMap<String, ComponentConfig>,
    /// Kubernetes feature gates, given to every component that knows feature gates.
    pub feature_gates: BTreeMap<String, bool>,
    /// All nodes, control plane first: `cp-1`, `w-1`, `w-2`, …
    pub nodes: Vec<NodeConfig>,
    /// Applied once the API answers, in order.
    pub manifests: Vec<Manifest>,
    /// Ports of the host that lead into the cluster.
    #[serde(default)]
    pub ports: Vec<PortForward>,
    /// The control plane's store.
    pub etcd: EtcdConfig,
    /// Whether nodes and pods reach the host's network.
    #[serde(default)]
    pub outbound: Outbound,
    /// What holds the cluster.
    #[serde(default)]
    pub sandbox: SandboxConfig,
}

/// Which address families a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IpFamily {
    /// Only IPv4.
    Ipv4,
    /// Only IPv6.
    Ipv6,
    /// Both; the primary addresses are IPv4.
    #[default]
    Dual,
}

/// How pods are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cni {
    /// bridge + host-local + portmap, routes between nodes laid by vial.
    #[default]
    Bridge,
    /// Nothing: nodes stay NotReady until a network add-on is installed.
    None,
}

/// Whether nodes and pods reach what the host reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outbound {
    /// Yes, by the families in which the host has a network.
    #[default]
    Auto,
    /// No: nothing leaves the cluster, names are not looked up outside.
    None,
}

/// Addresses and how pods are connected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkConfig {
    /// Address families.
    pub ip_family: IpFamily,
    /// Pods' addresses: one CIDR per family, the primary family first; each node gets a /24 or /64 of it.
    pub pod_cidrs: Vec<IpNet>,
    /// Services' addresses: one CIDR per family, the primary family first.
    pub service_cidrs: Vec<IpNet>,
    /// How pods are connected.
    pub cni: Cni,
    /// Where names outside of the cluster are looked up; empty: the host's own resolvers.
    pub dns_upstreams: Vec<std::net::SocketAddr>,
}

/// What is changed of vial's defaults for one component.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentConfig {
    /// Flags without the leading dashes: `v: "4"`. They replace vial's own of the same name; `null` removes one.
    pub args: BTreeMap<String, Option<String>>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// For components with a configuration file (kubelet, kube-proxy): merged over vial's (RFC 7386).
    pub config: Value,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// etcd, API server, controller manager, scheduler, and a node beside them.
    ControlPlane,
    /// Pods only.
    Worker,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeConfig {
    /// `cp-1`, `w-1`, …
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// 1-based among the nodes of its role; fixes the addresses.
    pub ordinal: u32,
    /// Labels of the Node object.
    pub labels: BTreeMap<String, String>,
    /// Taints of the Node object.
    pub taints: Vec<Taint>,
    /// The virtual machine that it is; `None` for a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// Host directories or files bound into the node.
    pub mounts: Vec<HostMount>,
    /// Files laid over the node's root.
    pub files: Vec<OverlayFile>,
    /// Per-node changes, over the cluster-wide `components`.
    pub components: BTreeMap<String, ComponentConfig>,
}

impl NodeConfig {
    /// What of the host the sandbox shows it, and whether only to be read: its mounts, then the files of its disks.
    pub fn host_paths(&self) -> impl Iterator<Item = (&Path, bool)> {
        let mounts = self.mounts.iter();
        let mounts = mounts.map(|mount| (Path::new(&mount.host_path), mount.read_only));
        let machine = self.machine.iter();
        let files = machine
            .flat_map(Machine::files)
            .map(|(disk, path)| (path, disk.read_only));
        mounts.chain(files)
    }
}

/// A taint, as Kubernetes has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// A qualified name.
    pub key: String,
    /// May be empty.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A host path bound into a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostMount {
    /// Absolute, on the host.
    pub host_path: String,
    /// Absolute, in the node.
    pub node_path: String,
    /// Refuse writes.
    #[serde(default)]
    pub read_only: bool,
}

/// A file laid over a node's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverlayFile {
    /// Absolute, in the node.
    pub path: String,
    /// What it holds. (A `source:` on the host is read by the command line before validation ends.)
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

/// Kubernetes objects to apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// For messages: the file's name, or `inline 1`.
    pub name: String,
    /// YAML, any number of documents.
    pub content: String,
}

/// The control plane's store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EtcdConfig {
    /// Survive a power loss: fsync every write. Off by default: a lab cluster is disposable and this is slow.
    pub fsync: bool,
}

impl ClusterSpec {
    /// The first control-plane node.
    #[must_use]
    pub fn control_plane(&self) -> Option<&NodeConfig> {
        self.nodes.iter().find(|n| n.role == Role::ControlPlane)
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodeConfig> {
        self.nodes.iter().find(|n| n.name == name)
    }

    /// The node's share of the pods' addresses, one per family, the primary first: the same in every cluster with the
    /// same pod CIDRs, whatever other nodes there are.
    ///
    /// Control planes have the shares 0 to 8, workers those from 9 on, so that a /19 (or a /59) is enough.
    #[must_use]
    pub fn node_pod_cidrs(&self, node: &NodeConfig) -> Vec<IpNet> {
        let before = match node.role {
            Role::ControlPlane => 0,
            Role::Worker => MAX_CONTROL_PLANES,
        };
        let share = before + node.ordinal.saturating_sub(1);
        let prefix = |net: &IpNet| match net {
            IpNet::V4(_) => NODE_POD_PREFIX_V4,
            IpNet::V6(_) => NODE_POD_PREFIX_V6,
        };
        self.network
            .pod_cidrs
            .iter()
            .filter_map(|net| cidr::nth_subnet(net, prefix(net), share))
            .collect()
    }

    /// The addresses of the Service `kubernetes`, one per family: the first of each service CIDR, where kube-apiserver
    /// puts it.
    #[must_use]
    pub fn kubernetes_service_ips(&self) -> Vec<IpAddr> {
        self.service_ips(1)
    }

    /// The addresses of the cluster's DNS service, one per family: the tenth of each service CIDR, as usual.
    #[must_use]
    pub fn dns_service_ips(&self) -> Vec<IpAddr> {
        self.service_ips(10)
    }

    fn service_ips(&self, n: u32) -> Vec<IpAddr> {
        self.network
            .service_cidrs
            .iter()
            .filter_map(|net| cidr::nth_address(net, n))
            .collect()
    }
}

impl NodeConfig {
    /// How it is made.
    #[must_use]
    pub fn driver(&self) -> Driver {
        match self.machine {
            Some(_) => Driver::Vm,
            None => Driver::Container,
        }
    }

    /// The process containers whose agents run the node's components: a control plane has one of its own, but in a
    /// machine, where one agent runs all.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        let own = self.role == Role::ControlPlane && self.machine.is_none();
        let own = own.then(|| format!("{}.control-plane", self.name));
        own.into_iter()
            .chain([format!("{}.node", self.name)])
            .collect()
    }

    /// The node's addresses on the management network, one per family of `family`, the primary first.
    ///
    /// `cp-N` is `10.89.0.(10+N)` and `fd89::(10+N)`, `w-N` is `.(100+N)`: the same in every cluster.
    #[must_use]
    pub fn addresses(&self, family: IpFamily) -> Vec<IpAddr> {
        let base = match self.role {
            Role::ControlPlane => 10,
            Role::Worker => 100,
        };
        let host = u8::try_from(base + self.ordinal).unwrap_or(u8::MAX);
        let v4 = IpAddr::from([10, 89, 0, host]);
        // The decimal digits of the IPv4 host part are written as they are: 10.89.0.101 is fd89::101.
        let digits = u16::from_str_radix(&host.to_string(), 16).unwrap_or_default();
        let v6 = IpAddr::from([0xfd89, 0, 0, 0, 0, 0, 0, digits]);
        match family {
            IpFamily::Ipv4 => vec![v4],
            IpFamily::Ipv6 => vec![v6],
            IpFamily::Dual => vec![v4, v6],
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpFamily::Ipv4 => "ipv4",
            IpFamily::Ipv6 => "ipv6",
            IpFamily::Dual => "dual",
        })
    }
}

impl fmt::Display for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outbound::Auto => "auto",
            Outbound::None => "none",
        })
    }
}

impl fmt::Display for Cni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cni::Bridge => "bridge",
            Cni::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{File, Overrides};

    fn spec(yaml: &str) -> ClusterSpec {
        let text = format!("apiVersion: vial/v1\nkind: Cluster\n{yaml}");
        let file = File::parse(&text, "vial.yaml").unwrap();
        file.validate(&Overrides::default(), &|_| unreachable!())
            .unwrap()
    }

    fn texts<T: ToString>(list: &[T]) -> Vec<String> {
        list.iter().map(T::to_string).collect()
    }

    #[test]
    fn shares_of_the_pods_addresses_are_fixed_by_ordinal() {
        let spec = spec("workers: 20");
        let share = |name| texts(&spec.node_pod_cidrs(spec.node(name).unwrap()));
        assert_eq!(share("cp-1"), ["10.244.0.0/24", "fd00:10:244::/64"]);
        assert_eq!(share("w-1"), ["10.244.9.0/24", "fd00:10:244:9::/64"]);
        assert_eq!(share("w-20"), ["10.244.28.0/24", "fd00:10:244:1c::/64"]);
    }

    #[test]
    fn the_smallest_pod_network_has_a_share_for_every_node() {
        let spec = spec("workers: 20\nnetwork: {podCIDR: \"10.32.0.0/19,fd32::/59\"}");
        let shares: Vec<_> = spec
            .nodes
            .iter()
            .flat_map(|node| spec.node_pod_cidrs(node))
            .collect();
        assert_eq!(shares.len(), 2 * 21);
        assert_eq!(shares.iter().collect::<HashSet<_>>().len(), 2 * 21);
    }

    #[test]
    fn services_with_fixed_addresses() {
        let dual = spec("");
        assert_eq!(
            texts(&dual.kubernetes_service_ips()),
            ["10.96.0.1", "fd00:10:96::1"]
        );
        assert_eq!(
            texts(&dual.dns_service_ips()),
            ["10.96.0.10", "fd00:10:96::a"]
        );
        let v6 = spec("ipFamily: ipv6");
        assert_eq!(texts(&v6.dns_service_ips()), ["fd00:10:96::a"]);
    }

    #[test]
    fn management_addresses_lie_in_the_management_networks() {
        let spec = spec("workers: 20");
        for node in &spec.nodes {
            for (address, net) in node.addresses(IpFamily::Dual).iter().zip(MANAGEMENT_CIDRS) {
                assert!(
                    net.parse::<IpNet>().unwrap().contains(address),
                    "{} {address}",
                    node.name
                );
            }
        }
        assert_eq!(
            texts(&spec.node("w-20").unwrap().addresses(IpFamily::Dual)),
            ["10.89.0.120", "fd89::120"]
        );
    }
}
