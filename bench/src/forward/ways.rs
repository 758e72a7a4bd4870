//! The ways to the server.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use vial_sandbox::{Connection, Network, Sandbox};

use super::{NODE, PORT};
use crate::Result;
use crate::vial::Vial;

/// Where a connection to the server is made.
pub enum Way {
    /// In the node's own network, to the Service's address.
    Inside(Arc<dyn Sandbox>, SocketAddr),
    /// At a port of the host.
    Port(SocketAddr),
}

impl Way {
    /// A new connection. Not from a thread of the runtime.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(&self, runtime: &Handle) -> Result<TcpStream> {
        let stream = match self {
            Self::Inside(sandbox, service) => {
                let dialling = sandbox.dial(Network::Node(NODE), *service);
                let stream = runtime.block_on(dialling)?.into_tcp();
                let stream = stream.ok_or("only sandboxes of namespaces are measured")?;
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                stream
            }
            Self::Port(address) => TcpStream::connect(address)?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A relay as it is usually written, with a buffer of 64 KiB each way.
///
/// # Errors
/// When no port is free.
pub async fn plain_relay(sandbox: Arc<dyn Sandbox>, service: SocketAddr) -> Result<Way> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let sandbox = Arc::clone(&sandbox);
            tokio::spawn(async move {
                let server = sandbox.dial(Network::Node(NODE), service).await;
                let Some(mut server) = server.ok().and_then(Connection::into_tcp) else {
                    return;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let size = 64 * 1024;
                let _ = copy_bidirectional_with_sizes(&mut client, &mut server, size, size).await;
            });
        }
    });
    Ok(Way::Port(address))
}

/// A running `kubectl port-forward`, ended when dropped.
pub struct PortForward {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl PortForward {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// When it does not say where.
    pub fn start(vial: &Vial, cluster: &str) -> Result<Self> {
        let ports = format!(":{PORT}");
        let args = ["kubectl", "-c", cluster, "port-forward", "pod/race", &ports];
        let mut command = vial.command(&args);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            let mut lines = BufReader::new(stdout);
            lines.read_line(&mut line)?;
            // It says a line for every connection, and must not wait for somebody who reads it.
            std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        }
        // Forwarding from 127.0.0.1:40121 -> 9876
        let address = line
            .split_whitespace()
            .nth(2)
            .and_then(|one| one.parse().ok());
        match address {
            Some(address) => Ok(Self { child, address }),
            None => {
                child.kill()?;
                child.wait()?;
                Err(format!("kubectl port-forward said {line:?}").into())
            }
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for PortForward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
