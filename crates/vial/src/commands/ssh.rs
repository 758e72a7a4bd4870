//! `vial ssh NODE`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use clap::Args;

use crate::cli::ClusterFlag;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::node_name::NodeName;
use crate::ssh;
use crate::ssh::files::Person;

/// Log in to a node with your own ssh
///
/// What stands after the NODE is ssh's: its options, then a command. Nothing is asked: the nodes' host keys are known,
/// and the cluster's key opens them. For everything else your own ~/.ssh/config counts.
///
/// The exit code is ssh's: that of the command, or 255 when there is no connection.
#[derive(Debug, Args)]
#[command(override_usage = "vial ssh [OPTIONS] [USER@]NODE [SSH-OPTIONS] [COMMAND]…")]
#[command(after_help = "\
Examples:
  vial ssh w-1                                 a shell
  vial ssh w-1 uname -r                        one command
  vial ssh cp-1 -L 8080:localhost:10259        what listens on the node, here at port 8080
  vial ssh w-1 -A -D 1080                      your agent there, and a SOCKS proxy here
  vial ssh ann@w-1.dev.vial id                 another user of the node, a cluster by its name
`vial ssh-config` lets ssh, scp, sftp, rsync and Ansible find the nodes without vial.")]
pub(crate) struct SshArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterFlag,
    /// The node: cp-1, w-1, …, and what comes after it is for ssh
    #[arg(
        value_name = "NODE",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) arguments: Vec<OsString>,
}

pub(crate) async fn run(context: &Context, args: SshArgs) -> Result {
    context.require_owner("log in to nodes")?;
    let (first, arguments) = args
        .arguments
        .split_first()
        .ok_or_else(|| Error::new(Code::BadInput, "no node"))?;
    let first = first.to_string_lossy();
    let (user, node) = match first.rsplit_once('@') {
        Some((user, node)) => (Some(user), node),
        None => (None, &*first),
    };
    if node.starts_with('-') {
        let what = format!("`{node}` is not the name of a node");
        return Err(Error::new(Code::BadInput, what).hint("ssh's own options come after the NODE"));
    }
    let name = NodeName::parse(node, &args.cluster.cluster);
    let record = name.find(context)?;
    let client = ssh::client(&name.node)?;
    // Starts a keeper when there is none; why it cannot is told here rather than by ssh.
    context.keeper(&name.cluster).await?;

    let files = Person::of_process().write(&context.paths, &record.spec)?;
    let mut command = std::process::Command::new(&client);
    command.arg("-F").arg(&files.whole_config);
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    // Only comes back when it could not be started.
    let error = command.arg(name.host()).args(arguments).exec();
    let what = format!("cannot run {}", client.display());
    Err(Error::caused(what, error).with_code(Code::Failed))
}
