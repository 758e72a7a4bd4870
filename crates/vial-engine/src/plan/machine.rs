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
use vial_spec::{Machine, NodeConfig, Role};

use super::component::qemu;
use super::containers::{ContainerPlan, PATH, base};
use super::{ComponentPlan, Context, Stage, files, network};
use crate::paths::agent_socket_below;

/// Whom QEMU runs as: nobody.
pub(super) const MACHINE_USER: u32 = 65_534;
/// In the container around it, what a machine starts from: `kernel`, `root` and `program`, which all machines of a node
/// image share, `initrd` and `data`, its own. On the host: `nodes/NODE/machine`.
pub const OWN: &str = "/var/lib/machine";
/// In the container, its sockets and the log of its console; `$VIAL_RUN/CLUSTER/agents/NODE.machine` on the host.
pub(super) const RUN: &str = "/run/vial";
/// The program of the link: the one static binary, under the name that gives it this role.
const LINK: &str = "/run/vial-link";

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
    let mounts = vec![
        bind(format!("{disk}/machine"), OWN.into(), false),
        bind(format!("{disk}/machine-log"), "/var/log".into(), false),
        bind(socket.into_owned(), format!("/run/{inner}"), false),
        bind(inside::PROGRAM.into(), LINK.into(), true),
    ];
    let name = format!("{}.machine", node.name);
    let upper = format!("{disk}/machine-root");
    let mut around = base(context, &node.name, name, upper, mounts);
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
        machine_id: files::machine_id(context, &node.name),
        unix_ms: 0,
        env: container.env.clone().into_iter().collect(),
        clones: clones.collect(),
        mounts: mounts.collect(),
        modules: wanted.modules.clone(),
        sysctls: wanted.sysctls.clone(),
        interfaces: vec![Interface {
            name: "eth0".into(),
            addresses: addresses
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            routes: routes.iter().filter_map(route).collect(),
            mtu: None,
        }],
    }
}

fn route(route: &vial_rpc::Route) -> Option<Route> {
    Some(Route {
        destination: route.destination.parse().ok()?,
        gateway: route.gateway.parse().ok()?,
    })
}

/// The hardware address of a machine's first interface: locally administered, unicast (IEEE 802c), by its name.
pub(super) fn mac(node: &NodeConfig) -> String {
    let role = match node.role {
        Role::ControlPlane => 0,
        Role::Worker => 1,
    };
    format!("02:00:00:00:{role:02x}:{:02x}", node.ordinal)
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
