//! `vial thaw TEMPLATE [NAME]`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use vial_engine::template::Templates;
use vial_keeper::api::{ClusterStatus, ThawRequest};
use vial_keeper::client::Client;

use super::up::say_up;
use crate::context::{Context, check_name, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::ui::Progress;
use crate::wanted::default_name;
use crate::{arrive, follow};

/// Make a new cluster that goes on from a template
///
/// It has the nodes, the objects and the addresses of the cluster that was frozen, and ports of its own on the host. Sandboxes
/// that are virtual machines go on with every process of every pod; in those of namespaces the control plane goes on, and
/// pods start anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial thaw with-my-operator
  vial thaw with-my-operator test-1
  vial thaw old --cold                 a template of another vial, kernel or processor: from its disks")]
pub(crate) struct ThawArgs {
    /// The template
    #[arg(value_name = "TEMPLATE")]
    template: String,
    /// The new cluster [env: VIAL_CLUSTER]
    #[arg(value_name = "NAME", default_value_t = default_name())]
    name: String,
    /// Start it from the template's disks: what was kept of the processes is left behind
    #[arg(long)]
    cold: bool,
    /// Leave kubeconfig files alone
    #[arg(long)]
    no_kubeconfig: bool,
    /// Write when which step ran to this file, as a Chrome trace (for ui.perfetto.dev)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: ThawArgs) -> Result {
    context.require_owner("make a cluster")?;
    check_name(&args.name)?;
    find(context, &args.template)?;
    let place = arrive::place(!args.no_kubeconfig)?;
    let began = Instant::now();
    let mut progress = context.ui.progress().tracing(args.trace.is_some());
    let made = thaw(
        context,
        &args.template,
        &args.name,
        args.cold,
        &mut progress,
    )
    .await;
    progress.end(made.is_err());
    if let Some(path) = &args.trace {
        progress.write_trace(path)?;
    }
    let (client, status) = made?;
    arrive::settle(context, &args.name, &client, place.as_ref()).await?;
    say_up(&context.ui, &status, began.elapsed());
    Ok(Exit::OK)
}

/// Refuses a template that is not there before anything is made.
fn find(context: &Context, template: &str) -> Result<()> {
    let found = Templates::of(&context.paths).find(template);
    found.map(drop).map_err(|error| match error {
        vial_engine::Error::Template(error) => {
            let hint = error.hint();
            Error::new(Code::NotFound, error.to_string()).maybe_hint(hint)
        }
        error => Error::caused(format!("template `{template}`"), error),
    })
}

/// Has the keeper of a new cluster make it.
pub(super) async fn thaw(
    context: &Context,
    template: &str,
    name: &str,
    cold: bool,
    progress: &mut Progress,
) -> Result<(Client, ClusterStatus)> {
    let started = Client::start(&context.paths, name).await;
    let client = started.map_err(|error| keeper_error(name, error))?;
    let request = ThawRequest {
        template: template.to_owned(),
        cold,
    };
    let status = follow::to_status(name, client.thaw(&request).await, progress).await?;
    Ok((client, status))
}
