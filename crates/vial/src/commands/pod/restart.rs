//! `vial pod restart`.

use std::time::Duration;

use clap::Args;
use vial_cloud::execute::{self, Progress, Waiting};

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::pods::choice::ChoiceArgs;
use crate::pods::place::PlaceArgs;
use crate::when;

/// Start pods afresh
///
/// What was written into the image's files is gone then; volumes, address and host key stay.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vial pod restart dp-test01\n  vial pod restart --all")]
pub(super) struct RestartArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Do not wait until one can log in again
    #[arg(long)]
    no_wait: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = when::parse_span)]
    timeout: Duration,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(context: &Context, args: RestartArgs) -> Result {
    let place = args.place.find(context).await?;
    let chosen = args.choice.find(&place).await?;
    let (cloud, namespace) = (&place.cloud, place.namespace.as_str());
    let mut steps = context.ui.progress();
    let mut waiting = Vec::new();
    for pod in chosen {
        steps.started(
            &pod.name,
            &format!("restart pod {}", pod.name),
            None,
            steps.now_us(),
        );
        let old = execute::restart(cloud, namespace, &pod.name).await?;
        waiting.push(Waiting {
            name: pod.name,
            image: pod.image,
            old,
        });
    }
    let mut failed = None;
    if !args.no_wait {
        let waited = execute::wait_ready(cloud, namespace, waiting, args.timeout, |progress| {
            match progress {
                Progress::Ready(name) => steps.finished(&name, steps.now_us()),
                Progress::Failed(_, error) => failed = failed.take().or(Some(error)),
                Progress::State(name, text) => steps.detail(&name, &text),
                Progress::NoEntry(..) => {}
            }
            true
        });
        tokio::select! {
            waited = waited => waited?,
            () = interrupt::signal() => return Err(Error::new(Code::Interrupted, "interrupted; the pods start afresh all the same")),
        }
    }
    super::refresh(context, &place).await;
    match failed {
        None => Ok(Exit::OK),
        Some(error) => {
            steps.end(true);
            Err(error.into())
        }
    }
}
