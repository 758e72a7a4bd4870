//! Sockets inside a sandbox, used from outside: the kernel's own where the sandbox is namespaces, streams over the link
//! where it is a machine.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixStream};

/// What is moved at once where the kernel cannot do it, in bytes.
const BUFFER: usize = 64 * 1024;

/// A TCP connection inside.
#[derive(Debug)]
pub enum Connection {
    /// A socket of the sandbox's network.
    Tcp(TcpStream),
    /// A stream to the machine, which has the socket.
    Link(UnixStream),
}

impl Connection {
    /// Passes bytes to and from another one until both ways are ended: moved by the kernel where both are sockets.
    ///
    /// # Errors
    /// Why it was cut.
    pub async fn relay(self, other: Self) -> io::Result<()> {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => vial_net::relay(one, two).await,
            (mut one, mut two) => {
                for socket in [&one, &two] {
                    if let Self::Tcp(stream) = socket {
                        stream.set_nodelay(true)?;
                    }
                }
                let passed = copy_bidirectional_with_sizes(&mut one, &mut two, BUFFER, BUFFER);
                passed.await.map(drop)
            }
        }
    }

    /// The socket, where the sandbox has one that can be handed out.
    #[must_use]
    pub fn into_tcp(self) -> Option<TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Link(_) => None,
        }
    }

    /// Cuts it: the other side sees a reset where that can be said.
    pub fn cut(self) {
        if let Self::Tcp(stream) = self {
            let _ = stream.set_zero_linger();
        }
    }
}

/// For clients of HTTP, which ask a connection what it is: nothing that they need to know.
impl hyper_util::client::legacy::connect::Connection for Connection {
    fn connected(&self) -> hyper_util::client::legacy::connect::Connected {
        hyper_util::client::legacy::connect::Connected::new()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Link(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Link(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Link(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Link(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A TCP listener inside.
#[derive(Debug)]
pub enum Listener {
    /// A socket of the sandbox's network.
    Tcp(TcpListener),
    /// The machine has the socket.
    Link(vial_link::Listener),
}

impl Listener {
    /// The socket, where the sandbox has one that can be handed out.
    #[must_use]
    pub fn into_tcp(self) -> Option<TcpListener> {
        match self {
            Self::Tcp(listener) => Some(listener),
            Self::Link(_) => None,
        }
    }

    /// The next connection, and whose it is. May be cancelled.
    ///
    /// # Errors
    /// When none can be taken now: without descriptors, or because the client went away again.
    pub async fn accept(&self) -> io::Result<(Connection, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Connection::Tcp(stream), peer))
            }
            Self::Link(listener) => {
                let (stream, peer) = listener.accept().await;
                Ok((Connection::Link(stream), peer))
            }
        }
    }
}

/// A UDP socket inside.
#[derive(Debug)]
pub enum Datagrams {
    /// A socket of the sandbox's network.
    Udp(UdpSocket),
    /// The machine has the socket.
    Link(vial_link::Datagrams),
}

impl Datagrams {
    /// The next datagram, its length and who sent it. May be cancelled.
    ///
    /// # Errors
    /// What became of one that was sent before.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self {
            Self::Udp(socket) => socket.recv_from(buffer).await,
            Self::Link(socket) => {
                let (datagram, from) = socket.recv_from().await;
                let length = datagram.len().min(buffer.len());
                buffer[..length].copy_from_slice(&datagram[..length]);
                Ok((length, from))
            }
        }
    }

    /// Sends one, which may be lost.
    ///
    /// # Errors
    /// When it is known to be lost.
    pub async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send_to(datagram, to).await.map(drop),
            Self::Link(socket) => {
                socket.send_to(datagram, to);
                Ok(())
            }
        }
    }
}
