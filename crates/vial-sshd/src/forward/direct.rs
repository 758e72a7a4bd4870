//! Connections that clients ask for (`direct-tcpip` of RFC 4254, `direct-streamlocal@openssh.com`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::server::{ChannelOpenHandle, Msg};
use russh::{ChannelOpenFailure, ChannelWriteHalf};
use tokio::net::{TcpStream, UnixStream};

use super::relay;
use crate::inbound::{Closed, Inbound};
use crate::site::Site;

/// How long one address may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where to.
#[derive(Debug)]
pub(crate) enum Target {
    /// A name or an address, and a port.
    Tcp(String, u16),
    /// A path.
    Unix(String),
}

/// Connects, answers the client, and carries bytes.
pub(crate) async fn serve(
    site: Arc<Site>,
    target: Target,
    reply: ChannelOpenHandle,
    client_side: (Inbound, Closed),
    write: ChannelWriteHalf<Msg>,
) {
    let mut closed = client_side.1.clone();
    let connected = tokio::select! {
        connected = connect(&site, &target) => connected,
        () = closed.wait() => return,
    };
    match connected {
        Ok(Connected::Tcp(stream)) => {
            reply.accept().await;
            relay(stream, client_side, write).await;
        }
        Ok(Connected::Unix(stream)) => {
            reply.accept().await;
            relay(stream, client_side, write).await;
        }
        Err(error) => {
            tracing::debug!("cannot connect to {target:?}: {error}");
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
        }
    }
}

enum Connected {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn connect(site: &Site, target: &Target) -> io::Result<Connected> {
    Ok(match target {
        Target::Tcp(host, port) => Connected::Tcp(connect_tcp(site, host, *port).await?),
        // With the server's own rights: whoever is logged in here can get root's anyhow.
        Target::Unix(path) => Connected::Unix(UnixStream::connect(path).await?),
    })
}

/// Tries all addresses of a host.
async fn connect_tcp(site: &Site, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in site.resolver.addresses(host).await? {
        match tokio::time::timeout(PATIENCE, TcpStream::connect((address, port))).await {
            Ok(Ok(stream)) => {
                // Small pieces of a person's typing must not wait for each other.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
