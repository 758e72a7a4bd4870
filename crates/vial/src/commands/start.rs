//! `vial start [NAME]`.

use std::time::Instant;

use clap::Args;
use vial_keeper::api::{Start, UpRequest};

use super::up::say_up;
use crate::cli::ClusterName;
use crate::context::Context;
use crate::error::{Exit, Result};
use crate::{arrive, follow};

/// Have a stopped cluster go on where it was, or start from its disks
///
/// After `vial stop` every process goes on from the memory that it had. After a crash of the host, or with --cold, all start
/// anew from what is on the disks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial start\n  vial start dev --cold")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    cluster: ClusterName,
    /// From the disks: what was kept of the processes is dropped
    #[arg(long)]
    cold: bool,
    /// Leave kubeconfig files alone
    #[arg(long)]
    no_kubeconfig: bool,
}

pub(crate) async fn run(context: &Context, args: StartArgs) -> Result {
    context.require_owner("start a cluster")?;
    let name = &args.cluster.name;
    let spec = context.record(name)?.spec;
    let place = arrive::place(!args.no_kubeconfig)?;
    let client = context.keeper(name).await?;
    let start = match args.cold {
        true => Start::Cold,
        false => Start::Quickest,
    };
    let began = Instant::now();
    let mut progress = context.ui.progress();
    let events = client.up(&UpRequest { spec, start }).await;
    let done = follow::to_status(name, events, &mut progress).await;
    progress.end(done.is_err());
    let status = done?;
    arrive::settle(context, name, &client, place.as_ref()).await?;
    say_up(&context.ui, &status, began.elapsed());
    Ok(Exit::OK)
}
