//! `vial ssh-config [NAME]`.

use clap::Args;

use crate::cli::ClusterName;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::ssh::files::Person;

/// Print a configuration with which ssh, scp, sftp, rsync and Ansible find a cluster's nodes
///
/// Nodes are called NODE.CLUSTER.vial. Your own configuration is not touched. For all clusters, those to come included,
/// put the line that --include prints at the beginning of your ~/.ssh/config: what it names comes with `vial up` and
/// goes with `vial down`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial ssh-config > nodes                       for one cluster, until it goes:
  ssh -F nodes w-1.vial.vial
  scp -F nodes app.conf w-1.vial.vial:/etc/
  vial ssh-config --include                     for all, at the beginning of ~/.ssh/config:
  rsync -a site/ w-1.dev.vial:/srv/
  ansible all -i w-1.dev.vial, -m ping")]
pub(crate) struct SshConfigArgs {
    #[command(flatten)]
    cluster: ClusterName,
    /// Print the line for your ~/.ssh/config that includes all clusters' configurations
    #[arg(long, conflicts_with = "name")]
    include: bool,
}

pub(crate) async fn run(context: &Context, args: SshConfigArgs) -> Result {
    context.require_root("read a cluster's keys")?;
    let person = Person::at_keyboard();
    if let Some(closed) = person.obstacle(&context.paths) {
        let closed = closed.display();
        context.ui.warn(format!(
            "{closed} does not let you pass, so your ssh cannot read its files: `sudo chmod o+x {closed}`"
        ));
    }
    if args.include {
        context.ui.data(person.include(&context.paths) + "\n")?;
        return Ok(Exit::OK);
    }
    let record = context.record(&args.cluster.name)?;
    let files = person.write(&context.paths, &record.spec)?;
    context.ui.data(files.config)?;
    Ok(Exit::OK)
}
