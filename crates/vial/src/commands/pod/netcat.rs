//! `vial pod netcat NAME [PORT]`: what ssh reaches pods of other clusters by.

use clap::Args;
use vial_cloud::forward::{self, PATIENCE, Port};

use crate::context::Context;
use crate::error::{Exit, Result};
use crate::pods::place::PlaceArgs;

/// Connect standard input and output to a port of a pod, through the API
///
/// This works wherever `kubectl port-forward` does; ssh uses it for clusters that are not of this machine. The end of
/// standard input is not passed on: the connection goes on until the pod ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod netcat dp-test01                      SSH-2.0-…
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | vial pod netcat web 80
  ssh -o ProxyCommand='vial pod netcat --context prod %h' box")]
pub(super) struct NetcatArgs {
    /// The pod
    #[arg(value_name = "NAME")]
    name: String,
    /// A port, by its number or the name that the pod gives it
    #[arg(value_name = "PORT", default_value = "ssh")]
    port: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(context: &Context, args: NetcatArgs) -> Result {
    let port: Port = args.port.parse()?;
    let place = args.place.find(context).await?;
    let pod = forward::ready(&place.cloud, &place.namespace, &args.name, PATIENCE).await?;
    let stream = forward::dial(&place.cloud, &pod, &port).await?;
    stream
        .pass(tokio::io::stdin(), tokio::io::stdout(), None)
        .await?;
    Ok(Exit::OK)
}
