//! `vial freeze [NAME] [--as TEMPLATE] [--stop]`.

use clap::Args;
use vial_keeper::api::StateRequest;

use crate::cli::ClusterName;
use crate::context::{Context, keeper_error};
use crate::error::{Exit, Result};
use crate::follow;

/// Freeze a running cluster to a template, at one point in time
///
/// The cluster goes on. New clusters go on from the template with `vial thaw`, any number of them, side by side with the same
/// addresses inside. What does not change is shared: disks, and the memory of virtual machines. A template has the cluster's
/// keys and all that its processes had in memory; it is its owner's alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial freeze                          the default cluster, to a template of its name
  vial freeze dev --as with-my-operator
  vial freeze dev --as monday --stop   the cluster does not go on; `vial start dev` has it do so")]
pub(crate) struct FreezeArgs {
    #[command(flatten)]
    cluster: ClusterName,
    /// What the template is called [default: the cluster's name]
    #[arg(long = "as", value_name = "TEMPLATE")]
    template: Option<String>,
    /// Take the place of a template of that name
    #[arg(long)]
    replace: bool,
    /// Stop the cluster, as `vial stop` does
    #[arg(long)]
    stop: bool,
}

pub(crate) async fn run(context: &Context, args: FreezeArgs) -> Result {
    context.require_owner("freeze a cluster")?;
    let cluster = args.cluster.name;
    let client = context.keeper(&cluster).await?;
    let request = StateRequest::Freeze {
        template: args.template.unwrap_or_else(|| cluster.clone()),
        replace: args.replace,
        stop: args.stop,
    };
    let mut progress = context.ui.progress();
    let done = follow::follow(&cluster, client.state(&request).await, &mut progress).await;
    progress.end(done.is_err());
    done?;
    if args.stop {
        // The next command is to meet another keeper.
        let gone = client.gone().await;
        gone.map_err(|error| keeper_error(&cluster, error))?;
    }
    Ok(Exit::OK)
}
