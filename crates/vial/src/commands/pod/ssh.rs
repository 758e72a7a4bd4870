//! `vial pod ssh NAME`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use clap::Args;
use vial_cloud::pods::{self, PodView, Scope};

use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::near;
use crate::pods::place::{Place, PlaceArgs};
use crate::ssh;

/// Log in to a pod with your own ssh
///
/// What stands after the NAME is ssh's: its options, then a command. Nothing is asked: the pod's host key is known, and
/// your key for pods (~/.ssh/vial/id_ed25519) opens it. For everything else your own ~/.ssh/config counts.
///
/// The exit code is ssh's: that of the command, or 255 when there is no connection.
#[derive(Debug, Args)]
#[command(override_usage = "vial pod ssh [OPTIONS] [USER@]NAME [SSH-OPTIONS] [COMMAND]…")]
#[command(after_help = "\
Examples:
  vial pod ssh dp-test01                       a shell
  vial pod ssh dp-test01 uname -r              one command
  vial pod ssh dp-test01 -L 8080:localhost:80  what listens in the pod, here at port 8080
  vial pod ssh --context prod -n team box id   of another cluster
After `vial ssh-config --install` ssh, scp, sftp, rsync and Ansible find pods without vial.")]
pub(super) struct SshArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The pod, and what comes after it is for ssh
    #[arg(
        value_name = "NAME",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<OsString>,
}

pub(super) async fn run(context: &Context, args: SshArgs) -> Result {
    let place = args.place.find(context).await?;
    let (first, arguments) = args
        .arguments
        .split_first()
        .ok_or_else(|| Error::new(Code::BadInput, "no pod"))?;
    let first = first.to_string_lossy();
    let (user, name) = match first.rsplit_once('@') {
        Some((user, name)) => (Some(user), name),
        None => (None, &*first),
    };
    let pod = find(&place, name).await?;
    let client = ssh::client(name)?;
    let config = super::ssh_config(context, &place).await?;
    let mut command = std::process::Command::new(&client);
    command.arg("-F").arg(config);
    if let Some(user) = user {
        command.args(["-l", user]);
    }
    // Only comes back when it could not be started.
    let error = command
        .arg(super::host_name(&place, &pod))
        .args(arguments)
        .exec();
    let what = format!("cannot run {}", client.display());
    Err(Error::caused(what, error).with_code(Code::Failed))
}

/// The pod of this name; near names are told.
pub(super) async fn find(place: &Place, name: &str) -> Result<PodView> {
    let namespace = &place.namespace;
    let scope = Scope::Namespace(namespace.clone());
    let pods = pods::services(&place.cloud, &scope).await?;
    if let Some(pod) = pods.iter().find(|pod| pod.name == name) {
        return Ok(pod.clone());
    }
    let names = pods.iter().map(|pod| pod.name.as_str());
    let what = format!("there is no pod `{name}` in namespace {namespace}");
    Err(Error::new(Code::NotFound, what).hint(near::hint("pod", name, names)))
}
