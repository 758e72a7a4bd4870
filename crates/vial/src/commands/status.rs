//! `vial status [NAME]`.

use std::fmt::Write as _;

use clap::Args;
use vial_keeper::api::{ClusterStatus, ComponentStatus, NodeStatus};

use super::ls;
use crate::cli::ClusterName;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::ui::{Cell, Style, Table, Ui};
use crate::when;

/// Show a cluster: nodes, components, endpoints
///
/// Components that are not ready are listed with the reason; `-o wide` lists them all.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial status\n  vial status dev -o wide\n  vial status -o json | jq '.nodes[].ready'"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterName,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) async fn run(context: &Context, args: StatusArgs) -> Result {
    context.require_owner("see a cluster")?;
    let name = &args.cluster.name;
    let client = context.keeper(name).await?;
    let status = context.status(name, &client).await?;
    let status = Status(status);
    output::print(&context.ui, args.output.output, &status)?;
    ls::tell_message(&context.ui, &status.0);
    Ok(Exit::OK)
}

/// One cluster, printable.
pub(crate) struct Status(pub(crate) ClusterStatus);

impl Report for Status {
    type Data = ClusterStatus;

    fn data(&self) -> &ClusterStatus {
        &self.0
    }

    fn text(&self, wide: bool, ui: &Ui) -> String {
        let cluster = &self.0;
        let color = ui.color_out();
        let mut head = Table::new(["CLUSTER", "PHASE", "KUBERNETES", "NODE-IMAGE", "API", "AGE"]);
        head.row([
            cluster.name.as_str().into(),
            ls::phase(cluster.phase),
            cluster.kubernetes.as_str().into(),
            cluster.node_image.as_str().into(),
            cluster.api.as_str().into(),
            when::age(&cluster.created, when::now()).into(),
        ]);
        let mut text = head.render(color);
        let mut section = |table: &Table| {
            if !table.is_empty() {
                let _ = write!(text, "\n{}", table.render(color));
            }
        };
        section(&nodes(&cluster.nodes));
        section(&machines(&cluster.nodes));
        section(&components(cluster, wide));
        let mut endpoints = Table::new(["ENDPOINT", "HOST", "TARGET", "MESSAGE"]);
        for endpoint in &cluster.endpoints {
            endpoints.row([
                endpoint.name.as_str().into(),
                endpoint.host.as_str().into(),
                endpoint.target.as_str().into(),
                endpoint.message.as_str().into(),
            ]);
        }
        section(&endpoints);
        text
    }

    fn names(&self) -> Vec<String> {
        self.0.nodes.iter().map(|node| node.name.clone()).collect()
    }
}

/// Nodes, a line each.
pub(super) fn nodes(nodes: &[NodeStatus]) -> Table {
    let mut table = Table::new([
        "NODE",
        "ROLE",
        "DRIVER",
        "READY",
        "COMPONENTS",
        "RESTARTS",
        "ADDRESSES",
    ]);
    for node in nodes {
        let ready = node
            .components
            .iter()
            .filter(|component| component.state == "ready")
            .count();
        let restarts: u32 = node
            .components
            .iter()
            .map(|component| component.restarts)
            .sum();
        table.row([
            node.name.as_str().into(),
            node.role.as_str().into(),
            node.driver.as_str().into(),
            match node.ready.as_deref() {
                _ if node.stopped => Cell::new("Stopped", Style::Dim),
                Some("True") => Cell::new("True", Style::Good),
                Some(other) => Cell::new(other, Style::Bad),
                None => "".into(),
            },
            format!("{ready}/{}", node.components.len()).into(),
            restarts.to_string().into(),
            node.addresses.join(",").into(),
        ]);
    }
    table
}

/// Virtual machines that ended by themselves, and what they said then.
fn machines(nodes: &[NodeStatus]) -> Table {
    let mut table = Table::new(["NODE", "ENDED", "MESSAGE"]);
    for node in nodes {
        if let Some(end) = &node.ended {
            table.row([
                node.name.as_str().into(),
                Cell::new(end.time.as_str(), Style::Warn),
                end.message.as_str().into(),
            ]);
        }
    }
    table
}

fn components(cluster: &ClusterStatus, all: bool) -> Table {
    let mut table = Table::new([
        "NODE",
        "COMPONENT",
        "STATE",
        "PID",
        "RESTARTS",
        "SINCE",
        "MESSAGE",
    ]);
    let wanted = |component: &&ComponentStatus| all || component.state != "ready";
    let machines = cluster.nodes.iter();
    let machines = machines.map(|node| (node.name.as_str(), node.components.as_slice()));
    let registry = ("registry", cluster.registry.component.as_slice());
    for (machine, components) in machines.chain([registry]) {
        for component in components.iter().filter(wanted) {
            let style = match component.state.as_str() {
                "ready" => Style::Good,
                "backoff" => Style::Bad,
                _ => Style::Warn,
            };
            table.row([
                machine.into(),
                component.name.as_str().into(),
                Cell::new(component.state.as_str(), style),
                component
                    .pid
                    .map(|pid| pid.to_string())
                    .unwrap_or_default()
                    .into(),
                component.restarts.to_string().into(),
                component.since.as_str().into(),
                component.message.as_str().into(),
            ]);
        }
    }
    table
}

#[cfg(test)]
pub(crate) mod tests {
    use vial_keeper::api::{Endpoint, Phase, RegistryStatus};

    use super::*;
    use crate::ui::ColorChoice;

    /// A cluster with one good and one bad node.
    pub(crate) fn cluster() -> ClusterStatus {
        let component = |name: &str, state: &str, restarts, message: &str| ComponentStatus {
            name: name.into(),
            container: "w-1.node".into(),
            state: state.into(),
            pid: (state == "ready").then_some(42),
            restarts,
            since: "2026-11-21T10:00:00Z".into(),
            message: message.into(),
        };
        let node = |name: &str, role: &str, ready: Option<&str>, components| NodeStatus {
            name: name.into(),
            role: role.into(),
            driver: "container".into(),
            stopped: false,
            ended: None,
            ready: ready.map(str::to_owned),
            addresses: vec!["10.89.0.11".into(), "fd89::11".into()],
            pod_cidrs: vec!["10.244.0.0/24".into()],
            components,
        };
        ClusterStatus {
            name: "dev".into(),
            uid: "7f3a".into(),
            phase: Phase::Degraded,
            message: None,
            created: "2026-11-21T10:00:00Z".into(),
            node_image: "vial/node:v1.36.3".into(),
            node_image_digest: "sha256:00".into(),
            kubernetes: "v1.36.3".into(),
            api: "https://127.0.0.1:45671".into(),
            keeper_pid: Some(100),
            sandbox_pid: Some(101),
            nodes: vec![
                node(
                    "cp-1",
                    "control-plane",
                    Some("True"),
                    vec![component("etcd", "ready", 0, "")],
                ),
                node(
                    "w-1",
                    "worker",
                    Some("Unknown"),
                    vec![
                        component("containerd", "ready", 0, ""),
                        component("kubelet", "backoff", 3, "exit code 1"),
                    ],
                ),
            ],
            registry: RegistryStatus {
                host: "127.0.0.1:45672".into(),
                inside: "registry.vial:5000".into(),
                component: Some(component("registry", "ready", 0, "")),
            },
            endpoints: vec![Endpoint {
                name: "api".into(),
                host: "127.0.0.1:45671".into(),
                target: "10.89.0.11:6443".into(),
                message: String::new(),
            }],
        }
    }

    fn below_the_head(wide: bool) -> String {
        let text = Status(cluster()).text(wide, &Ui::new(false, ColorChoice::Never));
        text.split_once("\n\n").unwrap().1.to_owned()
    }

    #[test]
    fn what_is_not_ready_is_told_with_its_reason() {
        insta::assert_snapshot!(below_the_head(false), @r"
        NODE  ROLE           DRIVER     READY    COMPONENTS  RESTARTS  ADDRESSES
        cp-1  control-plane  container  True     1/1         0         10.89.0.11,fd89::11
        w-1   worker         container  Unknown  1/2         3         10.89.0.11,fd89::11

        NODE  COMPONENT  STATE    PID  RESTARTS  SINCE                 MESSAGE
        w-1   kubelet    backoff  -    3         2026-11-21T10:00:00Z  exit code 1

        ENDPOINT  HOST             TARGET           MESSAGE
        api       127.0.0.1:45671  10.89.0.11:6443  -
        ");
    }

    #[test]
    fn wide_has_every_component() {
        assert_eq!(below_the_head(true).matches(" ready ").count(), 3);
        assert_eq!(Status(cluster()).names(), ["cp-1", "w-1"]);
    }
}
