//! `vial pod …`: Linux boxes with ssh on any Kubernetes, one word each.

mod cp;
mod create;
mod describe;
mod exec;
mod logs;
mod ls;
mod netcat;
mod ping;
mod port_forward;
mod restart;
mod rm;
mod ssh;
mod table;
mod wait;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vial_cloud::pods::PodView;
use vial_cloud::ssh::config::long_name;

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::pods::place::Place;

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
    /// Make pods to log in to
    Create(Box<create::CreateArgs>),
    /// List the pods
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    /// Show all that is known of pods, and what happened to them
    Describe(describe::DescribeArgs),
    /// Remove pods
    #[command(visible_aliases = ["remove", "delete"])]
    Rm(rm::RmArgs),
    /// Start pods afresh
    Restart(restart::RestartArgs),
    /// Show what a pod's entry point and its ssh server wrote
    Logs(logs::LogsArgs),
    /// Run a command in a pod, through the API
    Exec(exec::ExecArgs),
    /// Copy files between pods and this machine
    Cp(cp::CpArgs),
    /// Wait until one can log in to pods, or until they are gone
    Wait(wait::WaitArgs),
    /// Print names and addresses for /etc/hosts, or an inventory for Ansible
    Table(table::TableArgs),
    /// Try whether pods reach each other
    Ping(ping::PingArgs),
    /// Connect standard input and output to a port of a pod
    Netcat(netcat::NetcatArgs),
    /// Forward ports of this machine to a pod
    PortForward(port_forward::PortForwardArgs),
    /// Log in to a pod with your own ssh
    Ssh(ssh::SshArgs),
}

pub(crate) async fn run(context: &Context, args: PodArgs) -> Result {
    match args.command {
        PodCommand::Create(args) => create::run(context, *args).await,
        PodCommand::Ls(args) => ls::run(context, args).await,
        PodCommand::Describe(args) => describe::run(context, args).await,
        PodCommand::Rm(args) => rm::run(context, args).await,
        PodCommand::Restart(args) => restart::run(context, args).await,
        PodCommand::Logs(args) => logs::run(context, args).await,
        PodCommand::Exec(args) => exec::run(context, args).await,
        PodCommand::Cp(args) => cp::run(context, args).await,
        PodCommand::Wait(args) => wait::run(context, args).await,
        PodCommand::Table(args) => table::run(context, args).await,
        PodCommand::Ping(args) => ping::run(context, args).await,
        PodCommand::Netcat(args) => netcat::run(context, args).await,
        PodCommand::PortForward(args) => port_forward::run(context, args).await,
        PodCommand::Ssh(args) => ssh::run(context, args).await,
    }
}

/// The name of the Pod that runs now.
fn pod_of(view: &PodView) -> Result<String> {
    view.pod.clone().ok_or_else(|| {
        let error = Error::new(
            Code::NotFound,
            format!("pod {} does not run yet", view.name),
        );
        error.hint(format!(
            "`vial pod wait {0}`, `vial pod describe {0}`",
            view.name
        ))
    })
}

/// What the API answered.
fn api(what: String, error: kube::Error) -> Error {
    vial_cloud::Error::api(what)(error).into()
}

/// What ssh calls the pod, whatever else is called like it.
fn host_name(place: &Place, view: &PodView) -> String {
    long_name(view, &place.host_part())
}

/// Brings what ssh reads up to date.
async fn refresh(context: &Context, place: &Place) {
    crate::ssh::pods::refresh(context, place).await;
}

/// A configuration for ssh that finds the pod.
async fn ssh_config(context: &Context, place: &Place) -> Result<PathBuf> {
    let home = crate::ssh::pods::try_refresh(context, place).await?;
    Ok(home.whole_config())
}
