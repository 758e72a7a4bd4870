//! The process containers of a node: `NODE.node` everywhere, `NODE.control-plane` beside it on a control-plane node,
//! `NODE.machine` around it where it is a virtual machine, in which one agent runs all.
//!
//! The control plane has a container of its own because it can then be frozen: CRIU refuses the nested namespaces of
//! pods, which live in the other one.

use std::collections::BTreeMap;

use vial_guest::MachineSpec;
use vial_rpc::{CgroupLimits, Clone as TreeClone, ContainerSpec, Mount, mount::Kind};
use vial_sandbox::inside;
use vial_spec::{ClusterSpec, NodeConfig, Role};

use super::files::{FilePlan, LeafPlan};
use super::{ComponentPlan, Context, component, files, machine};
use crate::paths::agent_socket_below;

/// One node and everything on it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodePlan {
    /// What was asked for.
    pub config: NodeConfig,
    /// The control plane's first.
    pub containers: Vec<ContainerPlan>,
}

/// One process container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerPlan {
    /// For the first process of the sandbox.
    pub spec: ContainerSpec,
    /// Written before anything starts.
    pub files: Vec<FilePlan>,
    /// What its agent supervises.
    pub components: Vec<ComponentPlan>,
    /// When it is the guest of a virtual machine: what its first process is told. The first process of the sandbox knows
    /// nothing of it then.
    pub guest: Option<MachineSpec>,
}

/// Where a command finds programs in every container.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The control plane's share of busy CPUs beside each node's 100: nodes wait for it, not it for them.
const CONTROL_PLANE_WEIGHT: u64 = 800;

/// Plans the containers of a node and names the certificates they need.
pub(super) fn node(
    context: &Context<'_>,
    config: &NodeConfig,
    leaves: &mut BTreeMap<String, LeafPlan>,
) -> NodePlan {
    let is_control_plane = config.role == Role::ControlPlane;
    let mut node = node_container(context, config, leaves);
    let containers = match &config.machine {
        None if is_control_plane => vec![control_plane_container(context, config, leaves), node],
        None => vec![node],
        Some(wanted) => {
            if is_control_plane {
                join_control_plane(context, config, &mut node, leaves);
            }
            machine::containers(context, config, wanted, node)
        }
    };
    NodePlan {
        config: config.clone(),
        containers,
    }
}

/// Has the one agent of a machine run the control plane too.
fn join_control_plane(
    context: &Context<'_>,
    node: &NodeConfig,
    plan: &mut ContainerPlan,
    leaves: &mut BTreeMap<String, LeafPlan>,
) {
    let disk = control_plane_disk(node);
    plan.spec.mounts.extend(persistent(&disk, &[ETCD]));
    component::control_plane(context, node, plan, leaves);
}

/// Nothing is limited but the share of busy CPUs, beside each node's 100.
pub(super) fn weighing(cpu_weight: u64) -> CgroupLimits {
    CgroupLimits {
        cpu_weight,
        ..CgroupLimits::default()
    }
}

/// Where the store is: on the disk, and in the container.
const ETCD: (&str, &str) = ("etcd", "/var/lib/etcd");

/// Where the agent of a control plane puts its dump: on the disk, and in the container.
pub(crate) const FREEZER: (&str, &str) = ("freezer", "/var/lib/vial/freezer");

fn control_plane_disk(node: &NodeConfig) -> String {
    format!("{}/nodes/{}/control-plane", inside::CLUSTER, node.name)
}

fn control_plane_container(
    context: &Context<'_>,
    node: &NodeConfig,
    leaves: &mut BTreeMap<String, LeafPlan>,
) -> ContainerPlan {
    let disk = control_plane_disk(node);
    let mut mounts = persistent(
        &disk,
        &[
            ETCD,
            ("kubernetes", "/etc/kubernetes"),
            ("log", "/var/log"),
            FREEZER,
        ],
    );
    // Watched by the controller manager and given to pods by nobody: CRIU cannot dump an inotify watch on an overlay.
    mounts.push(Mount {
        target: "/run/flexvolume".into(),
        kind: Kind::Tmpfs.into(),
        ..Mount::default()
    });
    let mut plan = base(
        context,
        &node.name,
        format!("{}.control-plane", node.name),
        format!("{disk}/root"),
        mounts,
    );
    plan.spec.limits = Some(weighing(CONTROL_PLANE_WEIGHT));
    component::control_plane(context, node, &mut plan, leaves);
    plan
}

fn node_container(
    context: &Context<'_>,
    node: &NodeConfig,
    leaves: &mut BTreeMap<String, LeafPlan>,
) -> ContainerPlan {
    let disk = format!("{}/nodes/{}", inside::CLUSTER, node.name);
    let mut mounts = persistent(
        &disk,
        &[
            ("containerd", "/var/lib/containerd"),
            ("kubelet", "/var/lib/kubelet"),
            ("kubernetes", "/etc/kubernetes"),
            ("log", "/var/log"),
            ("volumes", component::VOLUMES),
        ],
    );
    let first = mount_base(context.spec, node);
    mounts.extend(node.mounts.iter().enumerate().map(|(index, mount)| Mount {
        source: format!("{}/{}", inside::MOUNTS, first + index),
        target: mount.node_path.clone(),
        kind: Kind::Bind.into(),
        read_only: mount.read_only,
    }));
    let mut plan = base(
        context,
        &node.name,
        format!("{}.node", node.name),
        format!("{disk}/root"),
        mounts,
    );
    let shown = &context.facts.image.shown;
    plan.spec.clones = vec![TreeClone {
        source: context.facts.image.containerd_root.clone(),
        target: format!("{disk}/containerd"),
        // Written in place by containerd; everything else below its root is replaced by rename.
        copy: vec!["meta.db".into(), "metadata.db".into()],
        whole: shown.iter().map(|_| "fs".into()).collect(),
    }];
    plan.spec.mounts.extend(shown.iter().map(|path| Mount {
        source: path.clone(),
        target: path.clone(),
        kind: Kind::Bind.into(),
        read_only: true,
    }));
    component::node(context, node, &mut plan, leaves);
    for file in &node.files {
        let content = files::Content::Text(file.content.clone());
        plan.files.push(FilePlan {
            path: file.path.clone(),
            mode: file.mode,
            content,
        });
    }
    plan
}

/// What is shown of the host is numbered over all nodes, in order: the index of this node's first.
pub(super) fn mount_base(spec: &ClusterSpec, node: &NodeConfig) -> usize {
    let before = spec
        .nodes
        .iter()
        .take_while(|other| other.name != node.name);
    before.map(|other| other.host_paths().count()).sum()
}

/// Directories of the node's disk (a real file system, unlike the overlay of its root).
pub(super) fn persistent(disk: &str, dirs: &[(&str, &str)]) -> Vec<Mount> {
    let bind = |(name, target): &(&str, &str)| Mount {
        source: format!("{disk}/{name}"),
        target: (*target).into(),
        kind: Kind::Bind.into(),
        read_only: false,
    };
    dirs.iter().map(bind).collect()
}

/// A container called `name` on the machine `host`, with nothing to run yet.
pub(super) fn base(
    context: &Context<'_>,
    host: &str,
    name: String,
    upper: String,
    mounts: Vec<Mount>,
) -> ContainerPlan {
    let socket = agent_socket_below(inside::RUN.as_ref(), &name);
    ContainerPlan {
        spec: ContainerSpec {
            node: host.to_owned(),
            lower: context.facts.image.lower.clone(),
            upper,
            mounts,
            env: [("PATH", PATH), ("HOME", "/root"), ("LANG", "C.UTF-8")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            agent_socket: socket.to_string_lossy().into_owned(),
            limits: Some(CgroupLimits::default()),
            clones: Vec::new(),
            name,
        },
        files: files::identity(context, host),
        components: Vec::new(),
        guest: None,
    }
}
