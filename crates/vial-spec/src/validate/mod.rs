//! From what a person typed to what it means: every default filled in, everything checked.
//!
//! Flags win over the file. Nothing stops at the first error: whoever mends a file wants to know all of them. What is
//! checked elsewhere: whether the node image exists and holds a supported Kubernetes, whether host paths exist.

mod components;
mod devices;
mod machine;
mod manifests;
mod network;
mod nodes;
mod path;
mod ports;
mod problems;
mod sandbox;
mod syntax;
mod version;

use std::io;
use std::path::Path;

use crate::file::{File, MachineEntry, Workers};
use crate::port::PortForward;
use crate::size::Size;
use crate::{
    ClusterSpec, Cni, EtcdConfig, IpFamily, MAX_WORKERS, Maker, Outbound, defaults, names,
};

pub use path::{FieldPath, Segment};
use problems::Problems;
pub use problems::{Problem, ValidationErrors};
pub use version::{check_node_image, normalize_kubernetes};

/// Reads a file of the host as text; relative paths are the caller's to resolve (against the directory of vial.yaml).
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// What the command line says; it wins over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// NAME
    pub name: Option<String>,
    /// `--workers`
    pub workers: Option<u32>,
    /// `--vm-workers`
    pub vm_workers: Option<u32>,
    /// `--vm`
    pub vm: bool,
    /// `--vm-cpus`, `--vm-memory`, `--ephemeral`, `--display`, `--kernel`, `--modules`: of all virtual machines
    pub machines: MachineEntry,
    /// `--kubernetes`
    pub kubernetes: Option<String>,
    /// `--node-image`
    pub node_image: Option<String>,
    /// `--ip-family`
    pub ip_family: Option<IpFamily>,
    /// `--cni`
    pub cni: Option<Cni>,
    /// `--port`, any number of times
    pub ports: Vec<PortForward>,
    /// `--outbound`
    pub outbound: Option<Outbound>,
    /// `--sandbox`, `--cpus`, `--memory`
    pub sandbox: SandboxOverrides,
}

/// What the command line says of the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxOverrides {
    /// `--sandbox`
    pub maker: Option<Maker>,
    /// `--cpus`
    pub cpus: Option<u32>,
    /// `--memory`
    pub memory: Option<Size>,
}

impl File {
    /// Checks everything and fills in every default. `File::default()` is the cluster of a person without a file.
    ///
    /// # Errors
    /// Everything that is wrong, each with the path of its field.
    pub fn validate(
        self,
        overrides: &Overrides,
        read: ReadFile<'_>,
    ) -> Result<ClusterSpec, ValidationErrors> {
        let mut problems = Problems::new(self.source.clone());
        let root = FieldPath::root();
        let problem = &mut problems;

        let name = name(&self, overrides, problem);
        let node_image = version::node_image(&self, overrides, problem);
        let workers = workers(&self, overrides, problem);
        let network = network::resolve(&self, overrides, problem);
        for gate in self.feature_gates.keys() {
            syntax::feature_gate(&root.key("featureGates").key(gate), gate, problem);
        }
        let components = components::resolve(
            &root.key("components"),
            self.components,
            components::Scope::Cluster,
            problem,
        );
        let group = match self.workers {
            Some(Workers::Group(group)) => group.into_node(),
            Some(Workers::Count(_)) | None => Default::default(),
        };
        let groups = nodes::Groups {
            control_plane: self.control_plane,
            workers: group,
            single: self.nodes,
        };
        let nodes = nodes::resolve(groups, workers, &overrides.machines, read, problem);
        let manifests = manifests::resolve(self.manifests, read, problem);
        let ports = ports::resolve(&self.ports, &overrides.ports, &nodes, problem);

        let sandbox = sandbox::resolve(&self.sandbox, overrides, &nodes, problem);

        problems.into_result(ClusterSpec {
            name,
            node_image,
            network,
            components,
            feature_gates: self.feature_gates,
            nodes,
            manifests,
            ports,
            etcd: EtcdConfig {
                fsync: self.etcd.fsync,
            },
            outbound: overrides.outbound.or(self.outbound).unwrap_or_default(),
            sandbox,
        })
    }
}

fn name(file: &File, overrides: &Overrides, problems: &mut Problems) -> String {
    let (path, name) = match (&overrides.name, &file.name) {
        (Some(name), _) => (FieldPath::argument("NAME"), name.as_str()),
        (None, Some(name)) => (FieldPath::root().key("name"), name.as_str()),
        (None, None) => (FieldPath::root(), defaults::NAME),
    };
    if let Err(error) = names::check_cluster(name) {
        problems.add(&path, error.to_string());
    }
    // Also when it gives way to NAME: the file is to be right by itself.
    if let (Some(_), Some(name)) = (&overrides.name, &file.name)
        && let Err(error) = names::check_cluster(name)
    {
        problems.add(&FieldPath::root().key("name"), error.to_string());
    }
    name.to_owned()
}

/// How many there are: two containers, unless something else is said of containers or of machines.
fn workers(file: &File, overrides: &Overrides, problems: &mut Problems) -> nodes::Workers {
    let root = FieldPath::root();
    let written = match &file.workers {
        Some(Workers::Count(count)) => Some((root.key("workers"), *count)),
        Some(Workers::Group(group)) => group
            .count
            .map(|count| (root.key("workers").key("count"), count)),
        None => None,
    };
    let flag = |name: &str, count: Option<u32>| {
        count.map(|count| (FieldPath::argument(name), u64::from(count)))
    };
    let machines = file.vm_workers.map(|count| (root.key("vmWorkers"), count));
    let machines = flag("--vm-workers", overrides.vm_workers).or(machines);
    let usual = match machines {
        Some((_, 1..)) => 0,
        _ => u64::from(defaults::WORKERS),
    };
    let group = flag("--workers", overrides.workers).or(written);
    let (path, group) = group.unwrap_or((root.clone(), usual));
    let (path, machines) = match machines {
        Some((path, count @ 1..)) => (path, count),
        _ => (path, 0),
    };
    let count = group.saturating_add(machines);
    if count > u64::from(MAX_WORKERS) {
        problems.add(
            &path,
            format!("{count} workers are too many, at most {MAX_WORKERS} are possible"),
        );
    }
    let within = |count: u64, most: u32| u32::try_from(count).map_or(most, |count| count.min(most));
    let group = within(group, MAX_WORKERS);
    nodes::Workers {
        group,
        machines: within(machines, MAX_WORKERS - group),
        all_machines: overrides.vm,
    }
}
