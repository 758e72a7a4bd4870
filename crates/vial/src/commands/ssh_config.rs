//! `vial ssh-config [NAME]`.

use clap::Args;

use crate::cli::ClusterName;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::ssh::files::Person;
use crate::ssh::pods;

/// Print a configuration with which ssh, scp, sftp, rsync and Ansible find a cluster's nodes, or let them find all
///
/// Nodes are called NODE.CLUSTER.vial. With --install your ~/.ssh/config gets one line at its beginning, and ssh finds the
/// nodes of all clusters, those to come included, and pods: by NAME where only one is called so, else by NAME.CONTEXT.vial
/// or NAME.NAMESPACE.CONTEXT.vial. What it includes comes with `vial up` and `vial pod create` and goes with them; it lies
/// in ~/.ssh/vial. Without --install your own configuration is not touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial ssh-config > nodes                       for one cluster, until it goes:
  ssh -F nodes w-1.vial.vial
  scp -F nodes app.conf w-1.vial.vial:/etc/
  vial ssh-config --install                     for all nodes and pods, now and later:
  ssh dp-test01
  rsync -a site/ w-1.dev.vial:/srv/
  ansible all -i w-1.dev.vial, -m ping")]
pub(crate) struct SshConfigArgs {
    #[command(flatten)]
    cluster: ClusterName,
    /// Print the line for your ~/.ssh/config that includes all clusters' configurations
    #[arg(long, conflicts_with = "name")]
    include: bool,
    /// Put the line at the beginning of your ~/.ssh/config that lets ssh find all nodes and pods
    #[arg(long, conflicts_with_all = ["name", "include"])]
    install: bool,
    /// Take that line out again
    #[arg(long, conflicts_with_all = ["name", "include", "install"])]
    uninstall: bool,
}

pub(crate) async fn run(context: &Context, args: SshConfigArgs) -> Result {
    if args.install {
        pods::install(context)?;
        return Ok(Exit::OK);
    }
    if args.uninstall {
        pods::uninstall(context)?;
        return Ok(Exit::OK);
    }
    context.require_owner("read a cluster's keys")?;
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
