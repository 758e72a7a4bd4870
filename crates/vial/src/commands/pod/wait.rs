//! `vial pod wait`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use vial_cloud::execute::{self, Progress, Waiting};
use vial_cloud::names;

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::pods::choice::ChoiceArgs;
use crate::pods::place::PlaceArgs;
use crate::when;

/// Wait until one can log in to pods, or until they are gone
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod wait dp-test01
  vial pod wait 'dp-*' --timeout 30s
  vial pod wait dp-test01 --for gone")]
pub(super) struct WaitArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    /// For what
    #[arg(
        long = "for",
        value_enum,
        value_name = "STATE",
        default_value = "ready"
    )]
    state: Wanted,
    /// How long at most
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = when::parse_span)]
    timeout: Duration,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Wanted {
    Ready,
    Gone,
}

pub(super) async fn run(context: &Context, args: WaitArgs) -> Result {
    let place = args.place.find(context).await?;
    let (cloud, namespace) = (&place.cloud, place.namespace.as_str());
    match args.state {
        Wanted::Ready => {
            let chosen = args.choice.find(&place).await?;
            let waiting = chosen.into_iter().map(|pod| Waiting {
                name: pod.name,
                image: pod.image,
                old: Vec::new(),
            });
            let mut failed = None;
            execute::wait_ready(
                cloud,
                namespace,
                waiting.collect(),
                args.timeout,
                |progress| {
                    if let Progress::Failed(_, error) = progress {
                        failed = failed.take().or(Some(error));
                    }
                    true
                },
            )
            .await?;
            failed.map_or(Ok(Exit::OK), |error| Err(error.into()))
        }
        Wanted::Gone => {
            // What is gone already cannot be found: names are taken as they are, globs as what they mean now.
            let globs = args.choice.all
                || args
                    .choice
                    .names
                    .iter()
                    .any(|name| name.contains(['*', '?']));
            let names = match globs {
                true => args
                    .choice
                    .find(&place)
                    .await?
                    .into_iter()
                    .map(|pod| pod.name)
                    .collect(),
                false => names::expand(&args.choice.names, None)?,
            };
            let gone = execute::wait_gone(cloud, namespace, &names);
            match tokio::time::timeout(args.timeout, gone).await {
                Ok(gone) => gone.map(|()| Exit::OK).map_err(Error::from),
                Err(_) => Err(Error::new(
                    Code::TimedOut,
                    format!(
                        "not gone after {} s: {}",
                        args.timeout.as_secs(),
                        names.join(", ")
                    ),
                )),
            }
        }
    }
}
