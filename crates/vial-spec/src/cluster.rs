//! The validated specification of a cluster: every default filled in, every invariant checked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// The control plane's store.
    pub etcd: EtcdConfig,
}

/// Which address families a cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Cni {
    /// bridge + host-local + portmap, routes between nodes laid by vial.
    #[default]
    Bridge,
    /// Nothing: nodes stay NotReady until a network add-on is installed.
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
    /// Host directories or files bound into the node.
    pub mounts: Vec<HostMount>,
    /// Files laid over the node's root.
    pub files: Vec<OverlayFile>,
    /// Per-node changes, over the cluster-wide `components`.
    pub components: BTreeMap<String, ComponentConfig>,
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
}

impl NodeConfig {
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
