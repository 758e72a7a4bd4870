//! `vial resume [NAME]`.

use clap::Args;
use vial_keeper::api::StateRequest;

use super::pause::change;
use crate::cli::ClusterName;
use crate::context::Context;
use crate::error::Result;

/// Let a paused cluster go on
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial resume\n  vial resume dev")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    cluster: ClusterName,
}

pub(crate) async fn run(context: &Context, args: ResumeArgs) -> Result {
    change(context, &args.cluster.name, StateRequest::Resume, "goes on").await
}
