//! Listening for a client (`tcpip-forward` of RFC 4254, `streamlocal-forward@openssh.com`).

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::sync::Arc;

use russh::server::Handle;
use tokio::net::{TcpListener, UnixListener};

use super::{Ending, serve, spawn};
use crate::connection::Client;
use crate::inbound::Channels;
use crate::users::Account;

/// What one connection listens for.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    ports: HashMap<(String, u32), Vec<Ending>>,
    sockets: HashMap<String, Socket>,
}

/// A listening unix socket, whose file goes with it.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    _task: Ending,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have removed it before.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Listeners {
    /// Listens on a port, 0 for a free one, and returns it.
    pub(crate) async fn listen(
        &mut self,
        client: &Arc<Client>,
        address: &str,
        port: u32,
    ) -> io::Result<u32> {
        let number = u16::try_from(port).map_err(|_| io::ErrorKind::InvalidInput)?;
        let listeners = bind(address, number).await?;
        let number = listeners
            .first()
            .map(TcpListener::local_addr)
            .ok_or(io::ErrorKind::AddrNotAvailable)??
            .port();
        let tasks = listeners.into_iter().map(|listener| {
            let (client, address) = (client.clone(), address.to_owned());
            spawn(accept(listener, client, address, number.into()))
        });
        let key = (address.to_owned(), number.into());
        self.ports.insert(key, tasks.collect());
        Ok(number.into())
    }

    /// Ends listening on a port; false when nothing did.
    pub(crate) fn cancel(&mut self, address: &str, port: u32) -> bool {
        self.ports.remove(&(address.to_owned(), port)).is_some()
    }

    /// Listens on a unix socket, which is the account's.
    pub(crate) fn listen_unix(
        &mut self,
        client: &Arc<Client>,
        account: &Account,
        path: &str,
    ) -> io::Result<()> {
        let listener = UnixListener::bind(path)?;
        let client = client.clone();
        let name = path.to_owned();
        let task = spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, name) = (client.clone(), name.clone());
                tokio::spawn(async move {
                    let opened = client.handle.channel_open_forwarded_streamlocal(name).await;
                    if let Ok(channel) = opened {
                        serve(stream, client.channels.clone(), channel).await;
                    }
                });
            }
        });
        let socket = Socket {
            path: path.into(),
            _task: task,
        };
        if account.credentials().is_some() {
            chown(path, Some(account.uid), Some(account.gid))?;
        }
        self.sockets.insert(path.to_owned(), socket);
        Ok(())
    }

    /// Ends listening on a unix socket; false when nothing did.
    pub(crate) fn cancel_unix(&mut self, path: &str) -> bool {
        self.sockets.remove(path).is_some()
    }
}

/// The addresses that a client means (RFC 4254, 7.1): nothing is every one, `localhost` the loopback of both families.
async fn bind(address: &str, port: u16) -> io::Result<Vec<TcpListener>> {
    let every = matches!(address, "" | "*");
    if !every && address != "localhost" {
        let address = address
            .parse()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        return Ok(vec![
            TcpListener::bind(SocketAddr::new(address, port)).await?,
        ]);
    }
    let (four, six) = if every {
        (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    } else {
        (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    };
    let mut listeners = Vec::new();
    let first = TcpListener::bind((four, port)).await;
    let port = match &first {
        Ok(listener) => listener.local_addr()?.port(),
        Err(_) => port,
    };
    // A container may have one family only; tokio's IPv6 sockets of the unspecified address take both.
    let second = if every && first.is_ok() {
        only_ipv6((six, port).into())
    } else {
        TcpListener::bind((six, port)).await
    };
    match (first, second) {
        (Ok(four), second) => {
            listeners.push(four);
            listeners.extend(second);
        }
        (Err(_), Ok(six)) => listeners.push(six),
        (Err(error), Err(_)) => return Err(error),
    }
    Ok(listeners)
}

/// A listener beside one of IPv4 on the same port.
fn only_ipv6(address: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        vial_sys::socket::open(vial_sys::socket::Transport::Tcp, true).map_err(io::Error::other)?;
    vial_sys::socket::bind(&socket, address).map_err(io::Error::other)?;
    rustix::net::listen(&socket, 128)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, client: Arc<Client>, address: String, port: u32) {
    while let Ok((stream, from)) = listener.accept().await {
        // Small pieces must not wait for each other; fails only when it is gone already.
        let _ = stream.set_nodelay(true);
        let (client, address) = (client.clone(), address.clone());
        tokio::spawn(async move {
            let (handle, channels): (Handle, Arc<Channels>) =
                (client.handle.clone(), client.channels.clone());
            let origin = from.ip().to_canonical().to_string();
            let opened = handle
                .channel_open_forwarded_tcpip(address, port, origin, from.port().into())
                .await;
            if let Ok(channel) = opened {
                serve(stream, channels, channel).await;
            }
        });
    }
}
