//! `vial stop [NAME]`.

use clap::Args;
use vial_keeper::api::StateRequest;

use super::pause::change;
use crate::cli::ClusterName;
use crate::context::Context;
use crate::error::Result;

/// Stop a cluster: all that runs is kept on disk, and goes on with `vial start`
///
/// Nothing of it runs or takes memory then, and the host may start anew in between.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial stop\n  vial stop dev")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    cluster: ClusterName,
}

pub(crate) async fn run(context: &Context, args: StopArgs) -> Result {
    change(
        context,
        &args.cluster.name,
        StateRequest::Stop,
        "is stopped",
    )
    .await
}
