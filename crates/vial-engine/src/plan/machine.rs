//! A node that is a virtual machine: one container around QEMU, and one that is the guest.
//!
//! ```text
//! NODE.machine   container of the sandbox: vial-agent → qemu, link         made by the first process, as every container
//!                                                        │  agent.sock of
//! NODE.node      the guest: vial-agent → containerd, … ◄─┘               served by `link`; its files lie on the guest's disk
//! ```
//! From the second one on nothing asks what kind of node it is.

use std::collections::BTreeMap;

use vial_guest::{Clone, DataMount, Interface, MachineSpec, Route};
use vial_rpc::probe::How;
use vial_rpc::{ComponentSpec, ContainerSpec, Mount, NodeLink, Probe, mount::Kind};
use vial_sandbox::inside;
use vial_spec::{Bus, Machine, NicModel, NodeConfig, Role, usual_mac};

use super::component::qemu;
use super::containers::{ContainerPlan, PATH, base, mount_base, weighing};
use super::{ComponentPlan, Context, Stage, files, network};
use crate::paths::agent_socket_below;

/// Whom QEMU runs as: nobody.
pub(super) const MACHINE_USER: u32 = 65_534;
/// In the container around it, what a machine starts from: `kernel`, `root` and `program`, which all machines of a node
/// image share, `initrd` and `data`, its own. On the host: `nodes/NODE/machine`.
pub const OWN: &str = "/var/lib/machine";
/// In the container, the files of the host that are disks of the machine, by the names of these.
pub(super) const FILES: &str = "/var/lib/machine-files";
/// Of the sandbox; containers have it only where it works.
const KVM: &str = "/dev/kvm";
/// In the container, its sockets and the log of its console; `$VIAL_RUN/CLUSTER/agents/NODE.machine` on the host.
pub(super) const RUN: &str = "/run/vial";
/// The share of busy CPUs of a control plane that is a machine, beside each node's 100. Emulated, it takes all there is for
/// minutes: with the 800 of one that is a container, machines beside it were silent for so long that they were given up.
const CONTROL_PLANE_WEIGHT: u64 = 200;
/// The programs of the link and around QEMU: the one static binary, under the names that give it these roles.
const LINK: &str = "/run/vial-link";
pub(super) const QEMU: &str = "/run/vial-qemu";

/// The containers of a node that is a machine.
pub(super) fn containers(
    context: &Context<'_>,
    node: &NodeConfig,
    wanted: &Machine,
    mut guest: ContainerPlan,
) -> Vec<ContainerPlan> {
    let disk = disk(node);
    guest.guest = Some(spec(context, node, wanted, &guest.spec));
    let inner = &guest.spec.name;
    let socket = agent_socket_below(inside::RUN.as_ref(), inner);
    let socket = socket.parent().unwrap_or(&socket).to_string_lossy();
    let bind = |source: String, target: String, read_only| Mount {
        source,
        target,
        kind: Kind::Bind.into(),
        read_only,
    };
    let mut mounts = vec![
        bind(format!("{disk}/machine"), OWN.into(), false),
        bind(format!("{disk}/machine-log"), "/var/log".into(), false),
        bind(socket.into_owned(), format!("/run/{inner}"), false),
        bind(inside::PROGRAM.into(), LINK.into(), true),
        bind(inside::PROGRAM.into(), QEMU.into(), true),
    ];
    if context.facts.machine.accelerator == "kvm" {
        mounts.push(bind(KVM.into(), KVM.into(), false));
    }
    let first = mount_base(context.spec, node) + node.mounts.len();
    mounts.extend(wanted.files().enumerate().map(|(index, (disk, _))| {
        let source = format!("{}/{}", inside::MOUNTS, first + index);
        let target = format!("{FILES}/{}", disk.name);
        bind(source, target, disk.read_only)
    }));
    let name = format!("{}.machine", node.name);
    let upper = format!("{disk}/machine-root");
    let mut around = base(context, &node.name, name, upper, mounts);
    if node.role == Role::ControlPlane {
        around.spec.limits = Some(weighing(CONTROL_PLANE_WEIGHT));
    }
    around.components = vec![
        qemu::component(context, node, wanted),
        link(&format!("/run/{inner}/agent.sock")),
    ];
    vec![around, guest]
}

fn disk(node: &NodeConfig) -> String {
    format!("{}/nodes/{}", inside::CLUSTER, node.name)
}

/// The guest, told as its PID 1 is told; when it starts is filled in by the executor.
fn spec(
    context: &Context<'_>,
    node: &NodeConfig,
    wanted: &Machine,
    container: &ContainerSpec,
) -> MachineSpec {
    let disk = disk(node);
    let own = |path: &str| {
        path.strip_prefix(&disk)
            .unwrap_or(path)
            .trim_start_matches('/')
            .into()
    };
    let NodeLink {
        addresses, routes, ..
    } = network::link(context.spec, node);
    let clones = container.clones.iter().map(|clone| Clone {
        source: context.facts.machine.containerd_root.clone().into(),
        target: own(&clone.target),
        copy: clone.copy.iter().map(Into::into).collect(),
        whole: vec!["fs".into()],
    });
    let mounts = container.mounts.iter().map(|mount| DataMount {
        source: own(&mount.source),
        target: mount.target.clone().into(),
    });
    MachineSpec {
        name: node.name.clone(),
        role: vial_guest::Role::Node,
        machine_id: files::machine_id(context, &node.name),
        unix_ms: 0,
        env: container.env.clone().into_iter().collect(),
        clones: clones.collect(),
        mounts: mounts.collect(),
        own_modules: wanted
            .kernel
            .as_ref()
            .is_some_and(|kernel| kernel.modules.is_some()),
        modules: drivers(wanted)
            .map(str::to_owned)
            .chain(wanted.modules.clone())
            .collect(),
        sysctls: wanted.sysctls.clone(),
        disks: wanted.disks.iter().map(|disk| disk.name.clone()).collect(),
        swap: wanted.swap.is_some(),
        interfaces: interfaces(node, wanted, &addresses, &routes),
    }
}

/// Of disks and interfaces, where they are no part of the kernel that every machine has: nobody else loads them.
fn drivers(wanted: &Machine) -> impl Iterator<Item = &'static str> {
    let disks = |bus: Bus| wanted.disks.iter().any(|disk| disk.bus == bus);
    let nics = |model: NicModel| wanted.nics.iter().any(|nic| nic.model == model);
    [
        ("virtio_scsi", disks(Bus::Scsi)),
        ("nvme", disks(Bus::Nvme)),
        ("xhci_pci", disks(Bus::Usb)),
        ("usb_storage", disks(Bus::Usb)),
        ("sd_mod", disks(Bus::Scsi) || disks(Bus::Usb)),
        ("vmxnet3", nics(NicModel::Vmxnet3)),
        ("e1000", nics(NicModel::E1000)),
        ("e1000e", nics(NicModel::E1000e)),
        ("igb", nics(NicModel::Igb)),
    ]
    .into_iter()
    .filter_map(|(name, needed)| needed.then_some(name))
}

fn interfaces(
    node: &NodeConfig,
    wanted: &Machine,
    addresses: &[String],
    routes: &[vial_rpc::Route],
) -> Vec<Interface> {
    let mut interfaces = vec![Interface {
        name: "eth0".into(),
        mac: mac(node),
        addresses: addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        routes: routes.iter().filter_map(route).collect(),
        mtu: None,
    }];
    interfaces.extend(wanted.nics.iter().zip(1..).map(|(nic, number)| Interface {
        name: format!("eth{number}"),
        mac: nic.mac,
        addresses: nic.addresses.iter().copied().collect(),
        routes: Vec::new(),
        mtu: None,
    }));
    interfaces
}

fn route(route: &vial_rpc::Route) -> Option<Route> {
    Some(Route {
        destination: route.destination.parse().ok()?,
        gateway: route.gateway.parse().ok()?,
    })
}

/// The hardware address of a machine's first interface.
pub(super) fn mac(node: &NodeConfig) -> [u8; 6] {
    usual_mac(0, node.role, node.ordinal)
}

/// What carries connections into the guest.
fn link(agent: &str) -> ComponentPlan {
    let line = format!("{RUN}/link.sock");
    let dial = format!("{RUN}/dial.sock");
    ComponentPlan {
        spec: ComponentSpec {
            name: "link".into(),
            argv: [LINK, "--line", &line, "--agent", agent, "--dial", &dial]
                .map(str::to_owned)
                .into(),
            env: environment(),
            log_file: "/var/log/vial/link.log".into(),
            // There when the guest's agent has answered.
            ready: Some(Probe {
                how: Some(How::UnixSocket(agent.into())),
                interval_ms: 0,
            }),
            ..ComponentSpec::default()
        },
        reads: Vec::new(),
        stage: Stage::Boot,
    }
}

/// Of what runs beside a machine.
pub(super) fn environment() -> BTreeMap<String, String> {
    [("PATH".to_owned(), PATH.to_owned())].into()
}
