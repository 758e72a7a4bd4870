//! `vial node ls|stop|start|reset|rm|add`: single nodes, whichever way they are made.

use clap::{Args, Subcommand};
use vial_keeper::api::{ClusterStatus, NodeStatus, NodesRequest};
use vial_spec::Driver;

use super::status;
use crate::cli::ClusterFlag;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::node_name::NodeName;
use crate::output::{self, OutputArgs, Report};
use crate::ui::Ui;
use crate::{arrive, follow};

/// Stop, start, reset, remove and add single nodes
///
/// Nodes that are containers and nodes that are virtual machines take the same commands. What becomes of a node is kept:
/// `vial up` without a file leaves stopped nodes stopped and removed ones away. A file makes the workers that it names.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// List the nodes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Stop nodes, in order or as if the plug were pulled
    Stop(StopArgs),
    /// Start nodes that were stopped, with the disks they had
    Start(StartArgs),
    /// Have nodes begin anew, with fresh disks
    Reset(ResetArgs),
    /// Remove nodes, with all that belongs to them
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Add workers
    Add(AddArgs),
}

/// List the nodes
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial node ls\n  vial node ls -c dev -o name")]
struct LsArgs {
    #[command(flatten)]
    cluster: ClusterFlag,
    #[command(flatten)]
    output: OutputArgs,
}

/// Stop nodes, in order or as if the plug were pulled
///
/// Nothing of a stopped node runs. Its disk, its address and its Node object stay; Kubernetes finds it NotReady and moves
/// its pods after a while, as of any node that is lost. It stays stopped until `vial node start`.
///
/// In order means: its programs are asked to end, and a virtual machine switches itself off. With --hard the kernel ends
/// all of a container at once, and QEMU with it where the node is a machine: what its guest had not flushed is lost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial node stop w-1
  vial node stop w-1 w-2 --hard        a power loss
  vial node stop w-1.dev.vial          of another cluster")]
struct StopArgs {
    #[command(flatten)]
    nodes: Nodes,
    /// Pull the plug: nothing of it is asked to end
    #[arg(long)]
    hard: bool,
}

/// Start nodes that were stopped, with the disks they had
///
/// Waits until they are Ready. Nodes that run are left alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial node start w-1\n  vial node start w-1 w-2 -c dev")]
struct StartArgs {
    #[command(flatten)]
    nodes: Nodes,
}

/// Have nodes begin anew, with fresh disks
///
/// They are ended as by `vial node stop --hard`, their disks and Node objects removed, and made again. Pods that were bound
/// to them start anew there. A control plane cannot: it holds what the cluster knows.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial node reset w-1")]
struct ResetArgs {
    #[command(flatten)]
    nodes: Nodes,
}

/// Remove nodes, with all that belongs to them
///
/// Their Node objects go first, so that Kubernetes moves their pods. They stay away until `vial node add` or `vial up` with
/// a file that has them. Move pods that must not be cut before with `kubectl drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial node rm w-2
  vial node rm w-2 w-3 --ignore-not-found")]
struct RmArgs {
    #[command(flatten)]
    nodes: Nodes,
    /// A node that is not there is no error
    #[arg(long)]
    ignore_not_found: bool,
}

/// Add workers
///
/// They take the lowest numbers that are free; their names are printed. Waits until they are Ready.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial node add
  vial node add --vm --count 2         two virtual machines
  vial node add --like w-1             labels, taints, files and size as of w-1")]
struct AddArgs {
    #[command(flatten)]
    cluster: ClusterFlag,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,
    /// As virtual machines
    #[arg(long, conflicts_with = "like")]
    vm: bool,
    /// As this worker is, but for directories of the host
    #[arg(long, value_name = "NODE")]
    like: Option<String>,
}

/// Which nodes.
#[derive(Debug, Args)]
struct Nodes {
    #[command(flatten)]
    cluster: ClusterFlag,
    /// The nodes: w-1, …
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
}

impl Nodes {
    /// The cluster and the nodes' names in it, each once.
    fn parse(&self) -> Result<(String, Vec<String>)> {
        let names = self.nodes.iter();
        let names = names.map(|text| NodeName::parse(text, &self.cluster.cluster));
        let names: Vec<NodeName> = names.collect();
        let cluster = names[0].cluster.clone();
        if let Some(other) = names.iter().find(|name| name.cluster != cluster) {
            let what = format!(
                "these are nodes of several clusters: {cluster} and {}",
                other.cluster
            );
            return Err(Error::new(Code::BadInput, what).hint("one cluster at a time"));
        }
        let mut nodes: Vec<String> = Vec::new();
        for name in names {
            if !nodes.contains(&name.node) {
                nodes.push(name.node);
            }
        }
        Ok((cluster, nodes))
    }
}

pub(crate) async fn run(context: &Context, args: NodeArgs) -> Result {
    context.require_owner("change a cluster")?;
    match args.command {
        NodeCommand::Ls(args) => ls(context, args).await,
        NodeCommand::Stop(args) => {
            let (cluster, nodes) = args.nodes.parse()?;
            let hard = args.hard;
            change(context, &cluster, NodesRequest::Stop { nodes, hard }).await
        }
        NodeCommand::Start(args) => {
            let (cluster, nodes) = args.nodes.parse()?;
            change(context, &cluster, NodesRequest::Start { nodes }).await
        }
        NodeCommand::Reset(args) => {
            let (cluster, nodes) = args.nodes.parse()?;
            change(context, &cluster, NodesRequest::Reset { nodes }).await
        }
        NodeCommand::Rm(args) => rm(context, args).await,
        NodeCommand::Add(args) => add(context, args).await,
    }
}

async fn ls(context: &Context, args: LsArgs) -> Result {
    let name = &args.cluster.cluster;
    let client = context.keeper(name).await?;
    let status = context.status(name, &client).await?;
    output::print(&context.ui, args.output.output, &Listed(status.nodes))?;
    Ok(Exit::OK)
}

async fn rm(context: &Context, args: RmArgs) -> Result {
    let (cluster, mut nodes) = args.nodes.parse()?;
    if args.ignore_not_found {
        let spec = context.record(&cluster)?.spec;
        nodes.retain(|node| spec.node(node).is_some());
        if nodes.is_empty() {
            return Ok(Exit::OK);
        }
    }
    change(context, &cluster, NodesRequest::Remove { nodes }).await
}

async fn add(context: &Context, args: AddArgs) -> Result {
    let cluster = &args.cluster.cluster;
    let before = context.record(cluster)?.spec;
    let request = NodesRequest::Add {
        count: args.count,
        driver: match args.vm {
            true => Driver::Vm,
            false => Driver::Container,
        },
        like: args.like,
    };
    let status = done(context, cluster, request).await?;
    let nodes = status.nodes.iter().map(|node| &node.name);
    for node in nodes.filter(|node| before.node(node).is_none()) {
        context.ui.data(format!("{node}\n"))?;
    }
    Ok(Exit::OK)
}

async fn change(context: &Context, cluster: &str, request: NodesRequest) -> Result {
    done(context, cluster, request).await.map(|_| Exit::OK)
}

/// Has the keeper do it, and shows how it goes; what is there then.
async fn done(context: &Context, cluster: &str, request: NodesRequest) -> Result<ClusterStatus> {
    let client = context.keeper(cluster).await?;
    let mut progress = context.ui.progress();
    let result = follow::to_status(cluster, client.nodes(&request).await, &mut progress).await;
    progress.end(result.is_err());
    let status = result?;
    arrive::tell_ssh(context, cluster);
    Ok(status)
}

/// Nodes, printable.
struct Listed(Vec<NodeStatus>);

impl Report for Listed {
    type Data = [NodeStatus];

    fn data(&self) -> &[NodeStatus] {
        &self.0
    }

    fn text(&self, _wide: bool, ui: &Ui) -> String {
        status::nodes(&self.0).render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|node| node.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(nodes: &[&str]) -> Result<(String, Vec<String>)> {
        Nodes {
            cluster: ClusterFlag {
                cluster: "dev".into(),
            },
            nodes: nodes.iter().map(ToString::to_string).collect(),
        }
        .parse()
    }

    #[test]
    fn nodes_are_named_once_and_of_one_cluster() {
        let (cluster, nodes) = parsed(&["w-1", "w-2", "w-1.dev.vial"]).unwrap();
        assert_eq!(
            (cluster.as_str(), nodes.join(" ").as_str()),
            ("dev", "w-1 w-2")
        );
        let (cluster, _) = parsed(&["w-1.test.vial"]).unwrap();
        assert_eq!(cluster, "test");
        assert_eq!(
            parsed(&["w-1", "w-1.test.vial"]).unwrap_err().exit_code(),
            2
        );
    }
}
