//! `vial pod logs`.

use clap::Args;
use futures::io::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use vial_cloud::words;

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::pods::choice;
use crate::pods::place::PlaceArgs;
use crate::when;

/// Show what a pod's entry point and its ssh server wrote
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod logs web
  vial pod logs web -f --tail 20
  vial pod logs web --previous              of the container before the last restart")]
pub(super) struct LogsArgs {
    /// The pod
    #[arg(value_name = "NAME")]
    name: String,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// Only what is newer: 10m, or an RFC 3339 time
    #[arg(long, value_name = "TIME", value_parser = when::since)]
    since: Option<jiff::Timestamp>,
    /// With the time of each line
    #[arg(long)]
    timestamps: bool,
    /// Of the container before the last restart
    #[arg(long)]
    previous: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(context: &Context, args: LogsArgs) -> Result {
    let place = args.place.find(context).await?;
    let view = choice::one(&place, &args.name).await?;
    let pod = super::pod_of(&view)?;
    let pods: Api<Pod> = Api::namespaced(place.cloud.client().clone(), &place.namespace);
    let params = LogParams {
        container: Some(words::CONTAINER.into()),
        follow: args.follow,
        previous: args.previous,
        since_time: args.since,
        tail_lines: args.tail,
        timestamps: args.timestamps,
        ..LogParams::default()
    };
    let what = || format!("cannot read the logs of pod {}", args.name);
    let mut lines = std::pin::pin!(
        pods.log_stream(&pod, &params)
            .await
            .map_err(|error| super::api(what(), error))?
    );
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = lines.read(&mut buffer) => read,
            () = interrupt::signal() => return Err(Error::new(Code::Interrupted, "interrupted")),
        };
        match read {
            Ok(0) => return Ok(Exit::OK),
            Ok(length) => context.ui.data(&buffer[..length])?,
            Err(error) => return Err(Error::caused(what(), error)),
        }
    }
}
