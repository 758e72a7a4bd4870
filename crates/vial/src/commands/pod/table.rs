//! `vial pod table`.

use clap::Args;
use vial_cloud::pods::{self, Scope};
use vial_cloud::ssh::quote::shell_word;

use crate::context::Context;
use crate::error::{Error, Exit, Result};
use crate::output;
use crate::pods::place::{Place, PlaceArgs};
use crate::pods::table::{Addresses, Machines};
use crate::ssh::files::absolute;

/// Print the pods' names and addresses for /etc/hosts, or as an inventory for Ansible
///
/// Addresses are those of the Services, which stay as long as the pods do; they are reached from inside the cluster. Ansible
/// goes through ssh: --inventory prints a file for it, --script a program that Ansible asks each time it runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod table                                      10.96.12.3 dp-test01 dp-test01.dev.vial
  vial pod table --inventory > hosts.ini && ansible all -i hosts.ini -m ping
  vial pod table --script > pods && chmod +x pods     always the pods that are there:
  ansible-playbook -i pods site.yaml")]
pub(super) struct TableArgs {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// The addresses of the Pods that run now; those after a restart are others
    #[arg(long, conflicts_with_all = ["inventory", "list", "host", "script"])]
    pod_ips: bool,
    /// Print an inventory file for Ansible
    #[arg(long, conflicts_with_all = ["list", "host", "script"])]
    inventory: bool,
    /// Print what Ansible asks a dynamic inventory for, as JSON
    #[arg(long, conflicts_with_all = ["host", "script"])]
    list: bool,
    /// As --list, for one host
    #[arg(long, value_name = "NAME", conflicts_with = "script")]
    host: Option<String>,
    /// Print a program that Ansible takes for an inventory
    #[arg(long)]
    script: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(context: &Context, args: TableArgs) -> Result {
    let place = args.place.find(context).await?;
    if args.script {
        context.ui.data(script(&place, args.all_namespaces)?)?;
        return Ok(Exit::OK);
    }
    let scope = match args.all_namespaces {
        true => Scope::All,
        false => Scope::Namespace(place.namespace.clone()),
    };
    let pods = pods::list(&place.cloud, &scope).await?;
    let which = match args.pod_ips {
        true => Addresses::Pod,
        false => Addresses::Cluster,
    };
    let for_ansible = args.inventory || args.list || args.host.is_some();
    // Ansible goes by ssh, which has to know them.
    let ssh_config = match for_ansible {
        true => super::ssh_config(context, &place).await?,
        false => Default::default(),
    };
    let machines = Machines {
        pods: &pods,
        context: &place.host_part(),
        ssh_config: &ssh_config,
    };
    let text = if args.inventory {
        machines.inventory()
    } else if args.list {
        output::json(&machines.list())?
    } else if let Some(host) = &args.host {
        output::json(&machines.of_host(host))?
    } else {
        machines.hosts(which)
    };
    context.ui.data(text)?;
    Ok(Exit::OK)
}

/// A program that asks for the same pods again.
fn script(place: &Place, all: bool) -> Result<String> {
    let program = std::env::current_exe()
        .map_err(|error| Error::caused("cannot find the path of vial itself", error))?;
    let mut words = vec![
        shell_word(&program.to_string_lossy()),
        "pod table".to_owned(),
    ];
    match (&place.cluster, &place.kubeconfig) {
        (Some(cluster), _) => words.push(format!("-c {cluster}")),
        (None, file) => {
            if let Some(file) = file {
                let file = absolute(file);
                words.push(format!(
                    "--kubeconfig {}",
                    shell_word(&file.to_string_lossy())
                ));
            }
            words.push(format!("--context {}", shell_word(place.cloud.context())));
        }
    }
    words.push(match all {
        true => "-A".to_owned(),
        false => format!("-n {}", shell_word(&place.namespace)),
    });
    Ok(format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")))
}
