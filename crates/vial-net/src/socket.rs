//! Sockets in the network namespace of a process, used from outside.
//!
//! A socket belongs for ever to the namespace it was made in: only making it needs a thread inside; connecting, binding
//! and all later use happen in the caller's runtime.
//!
//! # Invariants
//! Nothing here keeps the namespace alive but the sockets handed out: whoever holds them closes them when the sandbox
//! ends. The process is meant by a pidfd, so a pid that was given again is never entered.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use vial_sys::identity::Process;
use vial_sys::namespace::{enter_network, enter_network_of};
use vial_sys::socket::{self, Transport};

use crate::apply::NETNS;
use crate::error::During;
use crate::{NetError, maker};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A network namespace that is found by way of a process.
#[derive(Debug, Clone)]
pub struct Inside {
    process: Arc<Process>,
    /// Where it is bound, on the host; `None` for the process's own.
    bound: Option<PathBuf>,
}

impl Inside {
    /// That of the process behind a pidfd.
    pub fn of(process: Arc<Process>) -> Self {
        Self {
            process,
            bound: None,
        }
    }

    /// That of a node, which [`apply`](crate::apply()) has bound in the mount namespace of the process `pid`.
    ///
    /// # Errors
    /// When `node` is no name: it becomes part of a path.
    pub fn node(process: Arc<Process>, pid: u32, node: &str) -> Result<Self, NetError> {
        let mut parts = Path::new(node).components();
        let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == node);
        if !is_name {
            let cause = io::Error::from(io::ErrorKind::InvalidInput);
            return Err::<Self, _>(cause).during(|| format!("find the network of node {node:?}"));
        }
        let root = PathBuf::from(format!("/proc/{pid}/root{NETNS}"));
        Ok(Self {
            process,
            bound: Some(root.join(node)),
        })
    }

    /// Moves the calling thread there.
    fn enter(&self) -> Result<(), NetError> {
        let Some(path) = &self.bound else {
            return Ok(enter_network_of(&*self.process)?);
        };
        let operation = || format!("enter the network namespace {}", path.display());
        let namespace = File::open(path).during(operation)?;
        // As long as the process has not ended its pid is its own, and so was the path.
        if self.process.has_ended()? {
            let cause = io::Error::from(io::ErrorKind::NotFound);
            return Err::<(), _>(cause).during(operation);
        }
        Ok(enter_network(&namespace)?)
    }

    async fn open(&self, transport: Transport, address: SocketAddr) -> Result<OwnedFd, NetError> {
        let inside = self.clone();
        maker::make(move || {
            inside.enter()?;
            Ok(socket::open(transport, address.is_ipv6())?)
        })
        .await
    }

    /// Connects to an address inside.
    ///
    /// # Errors
    /// When the process is gone, or nobody answers there.
    pub async fn dial(&self, address: SocketAddr) -> Result<TcpStream, NetError> {
        let socket = TcpSocket::from_std_stream(self.open(Transport::Tcp, address).await?.into());
        // Each write goes out at once: what is forwarded has been batched by its sender already.
        socket
            .set_nodelay(true)
            .during(|| "set TCP_NODELAY".to_owned())?;
        socket
            .connect(address)
            .await
            .during(|| format!("connect to {address}"))
    }

    /// Listens at an address inside.
    ///
    /// # Errors
    /// When the process is gone, or the address is taken or not there.
    pub async fn listen(&self, address: SocketAddr) -> Result<TcpListener, NetError> {
        let operation = || format!("listen at {address}");
        let socket = TcpSocket::from_std_stream(self.open(Transport::Tcp, address).await?.into());
        socket.set_reuseaddr(true).during(operation)?;
        socket.bind(address).during(operation)?;
        socket.listen(BACKLOG).during(operation)
    }

    /// Binds a UDP socket inside.
    ///
    /// # Errors
    /// As [`listen`](Self::listen).
    pub async fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, NetError> {
        let operation = || format!("bind UDP {address}");
        let socket = self.open(Transport::Udp, address).await?;
        socket::bind(&socket, address)?;
        UdpSocket::from_std(socket.into()).during(operation)
    }
}
