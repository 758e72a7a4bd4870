//! `vial pause [NAME]`.

use std::time::Instant;

use clap::Args;
use vial_keeper::api::StateRequest;

use crate::cli::ClusterName;
use crate::context::{Context, keeper_error};
use crate::error::{Exit, Result};
use crate::follow;
use crate::ui::{Style, seconds};

/// Halt all that runs in a cluster; it keeps its memory and takes no processor time
///
/// `vial resume` has it go on at once. A pause does not outlive the host: `vial stop` does.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial pause\n  vial pause dev")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    cluster: ClusterName,
}

pub(crate) async fn run(context: &Context, args: PauseArgs) -> Result {
    change(
        context,
        &args.cluster.name,
        StateRequest::Pause,
        "is paused",
    )
    .await
}

/// Has the keeper do it, and says that it is done.
pub(super) async fn change(
    context: &Context,
    cluster: &str,
    request: StateRequest,
    said: &str,
) -> Result {
    context.require_owner("change a cluster")?;
    let client = context.keeper(cluster).await?;
    let began = Instant::now();
    let mut progress = context.ui.progress();
    let done = follow::follow(cluster, client.state(&request).await, &mut progress).await;
    progress.end(done.is_err());
    done?;
    if request == StateRequest::Stop {
        // The next command is to meet another keeper.
        let gone = client.gone().await;
        gone.map_err(|error| keeper_error(cluster, error))?;
    }
    let ui = &context.ui;
    let took = format!("({})", seconds(began.elapsed()));
    ui.status(format!(
        "{} cluster {cluster} {said} {}",
        ui.paint_err(Style::Good, "✓"),
        ui.paint_err(Style::Dim, &took)
    ));
    Ok(Exit::OK)
}
