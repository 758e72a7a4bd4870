//! `vial port add|rm|ls`: ports of the host that lead into a cluster.

use clap::{Args, Subcommand};
use vial_keeper::api::{AddPorts, PortState, PortStatus, RemovePorts};
use vial_spec::port::PortForward;

use crate::cli::ClusterFlag;
use crate::context::{Context, keeper_error};
use crate::error::{Exit, Result};
use crate::output::{self, OutputArgs, Report};
use crate::ui::{Cell, Style, Table, Ui};

/// Forward ports of the host into a cluster
///
/// A forwarded port is there for the cluster's life: also after `vial up` starts it again. It leads to a node, a Service
/// or a Pod, and finds it again whenever that comes back.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct PortArgs {
    #[command(subcommand)]
    command: PortCommand,
}

#[derive(Debug, Subcommand)]
enum PortCommand {
    /// Forward more ports
    Add(AddArgs),
    /// Forward some ports no more
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// List the forwarded ports
    #[command(visible_alias = "list")]
    Ls(LsArgs),
}

/// Forward more ports
///
/// A port is written [ADDRESS:]PORT:TARGET:PORT. ADDRESS is 127.0.0.1 unless given; one that other machines can reach
/// needs `,public` at the end. PORT 0 is a free one, which is printed. TARGET is svc/NAMESPACE/NAME, pod/NAMESPACE/NAME,
/// a node, an address or a name of the cluster's DNS; ports of Services and Pods may be given by their names.
///
/// Either all of them are forwarded then, or none.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial port add 8080:svc/default/web:80
  vial port add 0:svc/default/web:http 8443:w-1:443
  vial port add [::1]:5432:pod/default/db-0:5432
  vial port add 0.0.0.0:8080:svc/default/web:80,public    also for other machines")]
struct AddArgs {
    /// What to forward where
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<PortForward>,
    /// Also to what is not there yet: the port waits for it
    #[arg(long)]
    allow_missing: bool,
    #[command(flatten)]
    cluster: ClusterFlag,
    #[command(flatten)]
    output: OutputArgs,
}

/// Forward some ports no more
///
/// Connections through them are cut.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial port rm 8080\n  vial port rm [::1]:5432 8443")]
struct RmArgs {
    /// By number, by ADDRESS:PORT, or as `vial port ls -o name` prints it
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<String>,
    #[command(flatten)]
    cluster: ClusterFlag,
}

/// List the forwarded ports
///
/// A port that waits is listened at, and what it leads to is not there.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial port ls\n  vial port ls -o json | jq -r '.[].host'\n  vial port ls -o name | xargs vial port rm"
)]
struct LsArgs {
    #[command(flatten)]
    cluster: ClusterFlag,
    #[command(flatten)]
    output: OutputArgs,
}

/// Forwarded ports, printable.
struct Ports(Vec<PortStatus>);

pub(crate) async fn run(context: &Context, args: PortArgs) -> Result {
    context.require_owner("forward ports")?;
    match args.command {
        PortCommand::Add(args) => add(context, args).await,
        PortCommand::Rm(args) => rm(context, args).await,
        PortCommand::Ls(args) => ls(context, args).await,
    }
}

async fn add(context: &Context, args: AddArgs) -> Result {
    let name = &args.cluster.cluster;
    let client = context.keeper(name).await?;
    let failed = |error| keeper_error(name, error);
    let before = client.ports().await.map_err(failed)?;
    let request = AddPorts {
        ports: args.ports.clone(),
        allow_missing: args.allow_missing,
    };
    let mut ports = client.add_ports(&request).await.map_err(failed)?;
    // Those that were asked for: new ones, and those that were there already.
    let asked = |port: &PortStatus| args.ports.iter().any(|one| one.to_string() == port.spec);
    let is_new = |port: &PortStatus| !before.iter().any(|one| one.spec == port.spec);
    ports.retain(|port| asked(port) || is_new(port));
    output::print(&context.ui, args.output.output, &Ports(ports))?;
    Ok(Exit::OK)
}

async fn rm(context: &Context, args: RmArgs) -> Result {
    let name = &args.cluster.cluster;
    let client = context.keeper(name).await?;
    let request = RemovePorts { ports: args.ports };
    let removed = client
        .remove_ports(&request)
        .await
        .map_err(|error| keeper_error(name, error))?;
    for port in removed {
        context
            .ui
            .status(format!("{} no longer leads to {}", port.host, port.target));
    }
    Ok(Exit::OK)
}

async fn ls(context: &Context, args: LsArgs) -> Result {
    let name = &args.cluster.cluster;
    let client = context.keeper(name).await?;
    let ports = client
        .ports()
        .await
        .map_err(|error| keeper_error(name, error))?;
    let none = ports.is_empty();
    output::print(&context.ui, args.output.output, &Ports(ports))?;
    if none {
        context
            .ui
            .status("no port is forwarded; `vial port add 8080:svc/default/web:80` forwards one");
    }
    Ok(Exit::OK)
}

impl Report for Ports {
    type Data = [PortStatus];

    fn data(&self) -> &[PortStatus] {
        &self.0
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        let mut table = Table::new(["HOST", "TARGET", "STATE", "CONNECTIONS", "MESSAGE"]);
        for port in &self.0 {
            table.row([
                port.host.as_str().into(),
                port.target.as_str().into(),
                state(port.state),
                port.connections.to_string().into(),
                port.message.as_str().into(),
            ]);
        }
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|port| port.spec.clone()).collect()
    }
}

fn state(state: PortState) -> Cell {
    match state {
        PortState::Open => Cell::new("open", Style::Good),
        PortState::Waiting => Cell::new("waiting", Style::Warn),
        PortState::Taken => Cell::new("taken", Style::Bad),
        PortState::Stopped => Cell::new("stopped", Style::Dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::ColorChoice;

    #[test]
    fn ports_are_a_table() {
        let port = |spec: &str, state, message: &str| PortStatus {
            spec: spec.into(),
            host: "127.0.0.1:8080".into(),
            target: "svc/default/web:80".into(),
            state,
            message: message.into(),
            connections: 3,
        };
        let ports = Ports(vec![
            port("8080:svc/default/web:80", PortState::Open, ""),
            port(
                "8081:svc/default/web:80",
                PortState::Waiting,
                "svc/default/web does not exist",
            ),
        ]);
        assert_eq!(
            ports.names(),
            ["8080:svc/default/web:80", "8081:svc/default/web:80"]
        );
        let text = ports.text(false, &Ui::new(false, ColorChoice::Never));
        insta::assert_snapshot!(text, @r"
        HOST            TARGET              STATE    CONNECTIONS  MESSAGE
        127.0.0.1:8080  svc/default/web:80  open     3            -
        127.0.0.1:8080  svc/default/web:80  waiting  3            svc/default/web does not exist
        ");
    }
}
