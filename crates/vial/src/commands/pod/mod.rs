//! `vial pod …`: Linux boxes with ssh on any Kubernetes, one word each.

mod ls;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::Result;

/// Pods to log in to, on any Kubernetes
///
/// A pod of vial is a Deployment of one replica with a Service and an ssh server: it comes back after it was deleted or
/// its node was lost, and keeps its address and host key. `ssh NAME` finds it once `vial ssh-config --install` was run.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct PodArgs {
    #[command(subcommand)]
    command: PodCommand,
}

#[derive(Debug, Subcommand)]
enum PodCommand {
    /// List the pods
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
}

pub(crate) async fn run(context: &Context, args: PodArgs) -> Result {
    match args.command {
        PodCommand::Ls(args) => ls::run(context, args).await,
    }
}
