//! `vial pod port-forward NAME [LOCAL:]REMOTE…`.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use vial_cloud::forward::{self, PATIENCE, Port};

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::pods::place::{Place, PlaceArgs};

/// Whoever closed a connection here is not waited for: the API has no word for half of it.
const LINGER: Duration = Duration::from_secs(30);

/// Forward ports of this machine to a pod, through the API
///
/// It listens on 127.0.0.1 until Ctrl-C, takes any number of connections, and finds the pod anew for each: a pod that is
/// restarted is reached again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod port-forward web 8080:80              http://127.0.0.1:8080 is the pod's port 80
  vial pod port-forward web 80 443               the same ports here
  vial pod port-forward web :80                  a free port here, which is told
  vial pod port-forward --context prod db 5432
  vial pod port-forward web 8080:http            the port that the pod calls http")]
pub(super) struct PortForwardArgs {
    /// The pod
    #[arg(value_name = "NAME")]
    name: String,
    /// [LOCAL:]REMOTE: ports here and of the pod; without LOCAL the same, with 0 or nothing before the colon a free one
    #[arg(value_name = "PORTS", required = true)]
    ports: Vec<Forward>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// One of the ports.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Forward {
    /// 0: a free one.
    local: u16,
    remote: Port,
    /// As it was typed.
    shown: String,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = match text.split_once(':') {
            Some((local, remote)) => (Some(local), remote),
            None => (None, text),
        };
        let shown = remote.to_owned();
        let remote: Port = remote.parse().map_err(|error| format!("{error}"))?;
        let local = match (local, &remote) {
            (Some(""), _) => 0,
            (Some(local), _) => local
                .parse()
                .map_err(|_| format!("`{local}` is not the number of a port"))?,
            (None, Port::Number(number)) => *number,
            (None, Port::Name(_)) => 0,
        };
        Ok(Self {
            local,
            remote,
            shown,
        })
    }
}

pub(super) async fn run(context: &Context, args: PortForwardArgs) -> Result {
    let place = args.place.find(context).await?;
    // A pod that is not there is told before anything listens.
    forward::ready(&place.cloud, &place.namespace, &args.name, PATIENCE).await?;
    let mut listeners = Vec::new();
    for forward in args.ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, forward.local)).await;
        let listener = listener.map_err(|error| {
            let what = format!("cannot listen on 127.0.0.1:{}", forward.local);
            let taken = error.kind() == std::io::ErrorKind::AddrInUse;
            let error = Error::caused(what, error);
            match taken {
                true => error
                    .with_code(Code::Conflict)
                    .hint("`:REMOTE` takes a free port"),
                false => error,
            }
        })?;
        listeners.push((listener, forward));
    }
    let shared = Arc::new((context.clone(), place, args.name));
    let mut serving = JoinSet::new();
    for (listener, forward) in listeners {
        let address = listener
            .local_addr()
            .map_err(|error| Error::caused("cannot tell where we listen", error))?;
        context
            .ui
            .data(format!("Forwarding from {address} -> {}\n", forward.shown))?;
        serving.spawn(serve(Arc::clone(&shared), listener, forward.remote));
    }
    tokio::select! {
        () = interrupt::signal() => Ok(Exit::OK),
        _ = serving.join_next() => Err(Error::new(Code::Failed, "cannot listen any more")),
    }
}

/// Which pod, and where.
type Shared = Arc<(Context, Place, String)>;

async fn serve(shared: Shared, listener: TcpListener, port: Port) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => drop(connections.spawn(one(Arc::clone(&shared), connection, port.clone()))),
                // Too many descriptors: some will end.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection; what goes wrong with it is told, and the others go on.
async fn one(shared: Shared, connection: TcpStream, port: Port) {
    let (context, place, name) = &*shared;
    let passed = async {
        let pod = forward::ready(&place.cloud, &place.namespace, name, PATIENCE).await?;
        let stream = forward::dial(&place.cloud, &pod, &port).await?;
        let (from, to) = connection.into_split();
        stream.pass(from, to, Some(LINGER)).await
    };
    if let Err(error) = passed.await {
        let error = Error::from(error);
        context.ui.warn(error.line().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_for_kubectl() {
        for (text, local, remote) in [
            ("80", 80, Port::Number(80)),
            ("8080:80", 8080, Port::Number(80)),
            (":80", 0, Port::Number(80)),
            ("0:80", 0, Port::Number(80)),
            ("8080:http", 8080, Port::Name("http".into())),
            ("http", 0, Port::Name("http".into())),
        ] {
            let forward: Forward = text.parse().unwrap();
            assert_eq!((forward.local, forward.remote), (local, remote), "{text}");
        }
        for bad in ["", ":", "80:", "x:80", "70000:80", "80:0", "1:2:3"] {
            assert!(bad.parse::<Forward>().is_err(), "{bad}");
        }
    }
}
