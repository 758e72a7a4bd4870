//! What is written in `vial.yaml`: the form, before anything in it is believed.
//!
//! ```text
//! text ── File::parse ──► File ── File::validate (flags, files read) ──► ClusterSpec
//!         (syntax, unknown    (what a person                (defaults, names, CIDRs,
//!          fields, types)      typed)                        everything else)
//! ```
//! The doc comments of the fields are the descriptions in the JSON schema that editors show.

mod devices;
mod either;
mod locate;
mod machine;
mod parse;
mod sandbox;
mod schema;

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Cni, Driver, IpFamily, Outbound};

pub use devices::{DiskEntry, NicEntry};
pub use either::{CidrList, ManifestEntry, Scalar, TaintEntry, Workers};
pub(crate) use locate::Places;
pub use machine::{MachineEntry, NumaEntry};
pub use parse::ParseError;
pub(crate) use parse::Source;
pub use sandbox::SandboxEntry;
pub use schema::schema;

/// A cluster of vial: what `vial up -f vial.yaml` creates, changes or starts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// What is described.
    pub kind: Kind,
    /// The cluster's name: lower-case letters, digits and `-`, at most 32 characters. A NAME on the command line wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The version of Kubernetes: stands for the node image `vial/node:VERSION`. Not together with `nodeImage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["v1.36.3"]))]
    pub kubernetes: Option<String>,
    /// The node image, as NAME:TAG. Not together with `kubernetes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = ["vial/node:v1.36.3"]))]
    pub node_image: Option<String>,
    /// The address families of nodes, pods and services; `dual` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_family: Option<IpFamily>,
    /// Addresses, and how pods are connected.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: NetworkEntry,
    /// Whether nodes and pods reach what the host reaches: `auto` (unless given) lets them where the host has a
    /// network, `none` seals the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Outbound>,
    /// What the cluster lives in: namespaces of the host, or one virtual machine.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sandbox: SandboxEntry,
    /// Kubernetes feature gates, given to every component that knows feature gates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub feature_gates: BTreeMap<String, bool>,
    /// Changes to components on all nodes, by the component's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentEntry>,
    /// The control-plane node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub control_plane: NodeEntry,
    /// How many workers there are (2 unless given, at most 20), or that and what they have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Workers>,
    /// How many workers more are virtual machines; named on from the others. Where neither says how many containers there
    /// are, these are all workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 20))]
    pub vm_workers: Option<u64>,
    /// Single nodes by name (`cp-1`, `w-1`, `w-2`, …), over what `controlPlane` and `workers` say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, NodeEntry>,
    /// Kubernetes objects to apply once the API answers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<ManifestEntry>,
    /// Ports of the host that lead into the cluster: `[ADDRESS:]PORT:TARGET:PORT`, where TARGET is svc/NAMESPACE/NAME,
    /// pod/NAMESPACE/NAME, a node or an address. ADDRESS is 127.0.0.1 unless given; one that other machines can reach
    /// needs `,public` at the end. PORT 0 is a free one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [["8080:svc/default/web:80", "8443:w-1:443"]]))]
    pub ports: Vec<String>,
    /// The control plane's store.
    #[serde(default, skip_serializing_if = "is_default")]
    pub etcd: EtcdEntry,
    /// Where the text came from, for messages.
    #[serde(skip)]
    pub(crate) source: Source,
}

/// The version of the format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first.
    #[default]
    #[serde(rename = "vial/v1")]
    V1,
}

/// What a file describes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A cluster.
    #[default]
    Cluster,
}

/// Addresses, and how pods are connected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkEntry {
    /// Pods' addresses: one CIDR for each address family. Every node gets a /24 (IPv4) or /64 (IPv6) of it, so it must
    /// be a /19 or a /59 at least. 10.244.0.0/16 and fd00:10:244::/56 unless given.
    #[serde(default, rename = "podCIDR", skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<CidrList>,
    /// Services' addresses: one CIDR for each address family, /12 to /28 (IPv4) or /108 to /124 (IPv6). 10.96.0.0/16
    /// and fd00:10:96::/112 unless given.
    #[serde(
        default,
        rename = "serviceCIDR",
        skip_serializing_if = "Option::is_none"
    )]
    pub service_cidr: Option<CidrList>,
    /// How pods are connected: `bridge` (unless given), or `none` to install a network add-on of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cni: Option<Cni>,
    /// How names are looked up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dns: DnsEntry,
}

/// How names are looked up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsEntry {
    /// Servers for names outside of the cluster: addresses, with a port if it is not 53 (`[2001:db8::1]:5353`). The
    /// host's own unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
}

/// What is changed of one component.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentEntry {
    /// Flags without the leading dashes (`v: 4`). They replace vial's own of the same name; `null` removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, Option<Scalar>>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Scalar>,
    /// Only kubelet and kube-proxy: merged over the configuration file that vial writes (RFC 7386: `null` removes).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
}

/// A node, or what the nodes of a group have in common.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeEntry {
    /// Labels of the Node object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Scalar>,
    /// Taints of the Node object, instead of the usual ones: none for workers;
    /// `node-role.kubernetes.io/control-plane:NoSchedule` for a control plane that has workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<TaintEntry>>,
    /// How it is made: `container` (unless given) on the host's kernel, `vm` as a virtual machine with its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// The virtual machine, for `driver: vm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<MachineEntry>,
    /// Directories and files of the host bound into the node, which is a container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountEntry>,
    /// Files laid over the node's root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
    /// Changes to components on these nodes, over the cluster-wide `components`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentEntry>,
}

/// How many workers there are, and what they have in common.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerGroup {
    /// How many: 0 to 20; 2 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 20))]
    pub count: Option<u64>,
    /// Labels of the Node objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Scalar>,
    /// Taints of the Node objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<TaintEntry>>,
    /// How they are made: `container` (unless given) on the host's kernel, `vm` as virtual machines with their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// The virtual machines, for `driver: vm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<MachineEntry>,
    /// Directories and files of the host bound into each worker that is a container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountEntry>,
    /// Files laid over each worker's root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
    /// Changes to components on the workers, over the cluster-wide `components`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentEntry>,
}

impl File {
    /// Files of the host that are only named, not read, and named relatively, are meant below `directory`, which is absolute:
    /// who opens them is elsewhere.
    pub fn resolve_paths(&mut self, directory: &Path) {
        let group = match &mut self.workers {
            Some(Workers::Group(group)) => group.vm.as_mut(),
            _ => None,
        };
        let single = self.nodes.values_mut().map(|node| node.vm.as_mut());
        let all = [self.control_plane.vm.as_mut(), group].into_iter();
        for machine in all.chain(single).flatten() {
            machine.resolve_paths(directory);
        }
    }
}

impl WorkerGroup {
    /// The group without its size: serde refuses unknown fields only where nothing is flattened, so the fields are
    /// written twice.
    pub(crate) fn into_node(self) -> NodeEntry {
        let WorkerGroup {
            count: _,
            labels,
            taints,
            driver,
            vm,
            mounts,
            files,
            components,
        } = self;
        NodeEntry {
            labels,
            taints,
            driver,
            vm,
            mounts,
            files,
            components,
        }
    }
}

/// A directory or file of the host bound into a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MountEntry {
    /// Absolute path on the host.
    pub host_path: String,
    /// Absolute path in the node.
    pub node_path: String,
    /// Refuse writes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_only: bool,
}

/// A file laid over a node's root; either `content` or `source` says what is in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEntry {
    /// Absolute path in the node.
    pub path: String,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// A file of the host that holds it; relative to the directory of vial.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Permission bits, octal; "0644" unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-7]{3,4}$"))]
    pub mode: Option<String>,
}

/// A manifest written in place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InlineManifest {
    /// What it is called in messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// YAML, any number of documents.
    pub content: String,
}

/// A taint in full.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FullTaint {
    /// A qualified name: `example.com/gpu`.
    pub key: String,
    /// May be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Scalar>,
    /// What happens to pods that do not tolerate it.
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: String,
}

/// The control plane's store.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdEntry {
    /// Survive a power loss of the host: fsync every write. Off unless given, for a lab cluster is disposable and this
    /// is slow.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fsync: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
