//! Sockets in the network namespace of a process, used from outside.
//!
//! A socket belongs for ever to the namespace it was made in: only making it needs a thread inside; connecting, binding
//! and all later use happen in the caller's runtime.
//!
//! # Invariants
//! Nothing here keeps the namespace alive but the sockets handed out: whoever holds them closes them when the sandbox
//! ends. The process is meant by a pidfd, so a pid that was given again is never entered.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use vial_sys::identity::Process;
use vial_sys::namespace::enter_network_of;
use vial_sys::socket::{self, Transport};

use crate::NetError;
use crate::error::During;
use crate::namespace::in_thread;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The network namespace of a process.
#[derive(Debug, Clone)]
pub struct Inside {
    process: Arc<Process>,
}

impl Inside {
    /// Of the process behind a pidfd.
    pub fn of(process: Arc<Process>) -> Self {
        Self { process }
    }

    async fn open(&self, transport: Transport, address: SocketAddr) -> Result<OwnedFd, NetError> {
        let process = Arc::clone(&self.process);
        in_thread(move || {
            enter_network_of(&*process)?;
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
