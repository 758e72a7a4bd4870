//! The plan of a cluster: everything that shall run, with every flag, file and address; pure.
//!
//! ```text
//! ClusterSpec + ImageFacts + ports ──plan()──► Plan ──execute::up──► a cluster
//! ```
//!
//! # Invariants
//! - Nothing here reads a clock, a disk or a random number: the same input gives the same plan, and tests compare it whole.
//! - A plan holds no secret: files name the certificate or key they will hold ([`Content`]).

mod args;
mod change;
mod component;
mod containers;
mod files;
mod machine;
mod manifests;
mod network;
mod registry;

use std::collections::{BTreeMap, BTreeSet};

pub use change::{Change, changes};
pub(crate) use containers::FREEZER;
pub use containers::{ContainerPlan, NodePlan};
pub use files::{ADMIN, Ca, Content, FilePlan, LeafPlan};
pub use machine::OWN as MACHINE_FILES;
pub use network::gateways;
pub use registry::{
    MIRROR_PORT, REGISTRY, REGISTRY_COLLECT, REGISTRY_DATA, REGISTRY_NAME, registry_addresses,
};
use vial_rpc::{ComponentSpec, NetworkSpec};
use vial_spec::{ClusterSpec, NodeConfig, Role};

/// What the planner must know about the node image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageFacts {
    /// `v1.36.3`.
    pub kubernetes: String,
    /// Layers of the root file system as seen in the sandbox, topmost first.
    pub lower: Vec<String>,
    /// The baked containerd root, as seen in the sandbox.
    pub containerd_root: String,
    /// Where the image lies on another disk than the nodes' own: what nodes have to see at this very path, since their
    /// files are symbolic links into it.
    pub shown: Option<String>,
}

/// What must be known besides the spec and the image.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The node image.
    pub image: ImageFacts,
    /// The loopback port of the API on the host.
    pub api_port: u16,
    /// The loopback port of the registry on the host.
    pub registry_port: u16,
    /// For nodes that are virtual machines.
    pub machine: MachineFacts,
}

/// What is known of the virtual machines that can be made here.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineFacts {
    /// The kernel's command line, without a console.
    pub command_line: String,
    /// QEMU's accelerator, with its options: `kvm`, or `tcg,thread=multi`.
    pub accelerator: String,
    /// The baked containerd root, as a path of the node image: `/usr/lib/vial/containerd`.
    pub containerd_root: String,
}

/// Everything that shall be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What was asked for.
    pub spec: ClusterSpec,
    /// Bridge, links, addresses, routes.
    pub network: NetworkSpec,
    /// Certificates by name, one pair of files each.
    pub leaves: BTreeMap<String, LeafPlan>,
    /// Control plane first.
    pub nodes: Vec<NodePlan>,
    /// Those of the nodes that are not to run now; a fresh plan has none.
    pub stopped: BTreeSet<String>,
    /// The machine that holds the registry.
    pub registry: ContainerPlan,
    /// What nodes may do before the API server has made its own roles: applied before any kubelet starts.
    pub rights: &'static str,
    /// vial's other objects.
    pub bootstrap: String,
}

/// One supervised program and when it may start.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentPlan {
    /// For the agent; its `config_digest` is filled in by the executor from the files it reads.
    pub spec: ComponentSpec,
    /// Files of the container whose content is part of the component's identity: a change restarts it.
    pub reads: Vec<String>,
    /// When it may start.
    pub stage: Stage,
}

/// When a component may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// With its container.
    Boot,
    /// Once the API holds the Node objects and the rights of what runs on them.
    Registered,
    /// Once the API is ready and holds vial's own objects: earlier it would meet refusals and back off.
    Joined,
}

/// Decides what shall be there.
#[must_use]
pub fn plan(spec: &ClusterSpec, facts: &Facts) -> Plan {
    let context = Context { spec, facts };
    let mut leaves = BTreeMap::new();
    let nodes = spec
        .nodes
        .iter()
        .map(|node| containers::node(&context, node, &mut leaves))
        .collect();
    leaves.extend(files::cluster_leaves());
    Plan {
        spec: spec.clone(),
        network: network::network(spec),
        leaves,
        nodes,
        stopped: BTreeSet::new(),
        registry: registry::container(&context),
        rights: manifests::NODES,
        bootstrap: manifests::bootstrap(spec, &facts.image.kubernetes),
    }
}

/// What every part of the planner looks at.
struct Context<'a> {
    spec: &'a ClusterSpec,
    facts: &'a Facts,
}

impl Context<'_> {
    /// `https://10.89.0.11:6443`: the API for everything inside the sandbox.
    fn api_url(&self) -> String {
        let address = self
            .spec
            .control_plane()
            .map(|node| self.primary(node))
            .unwrap_or_default();
        format!("https://{address}:{}", component::API_PORT)
    }

    /// The node's primary address, in brackets when IPv6.
    fn primary(&self, node: &NodeConfig) -> String {
        match node.addresses(self.spec.network.ip_family).first() {
            Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            Some(address) => address.to_string(),
            None => String::new(),
        }
    }

    /// Comma-separated, as Kubernetes takes lists of CIDRs.
    fn joined<T: ToString>(items: &[T]) -> String {
        items
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }
}

impl Plan {
    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&NodePlan> {
        self.nodes.iter().find(|node| node.config.name == name)
    }

    /// The nodes that are to run.
    pub fn running(&self) -> impl Iterator<Item = &NodePlan> {
        let stopped = |node: &&NodePlan| !self.stopped.contains(&node.config.name);
        self.nodes.iter().filter(stopped)
    }

    /// All process containers, whichever machine they belong to.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerPlan> {
        let of_nodes = self.nodes.iter().flat_map(|node| &node.containers);
        of_nodes.chain([&self.registry])
    }

    /// Where the registry listens inside the sandbox.
    #[must_use]
    pub fn registry_target(&self) -> Option<std::net::SocketAddr> {
        registry::target(self.spec.network.ip_family)
    }

    /// Where the API listens inside the sandbox.
    #[must_use]
    pub fn api_target(&self) -> Option<std::net::SocketAddr> {
        let node = self
            .spec
            .nodes
            .iter()
            .find(|node| node.role == Role::ControlPlane)?;
        let address = *node.addresses(self.spec.network.ip_family).first()?;
        Some((address, component::API_PORT).into())
    }
}
