//! The networks of a guest: where its end makes sockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::target::Place;
use crate::wake::Wake;

/// Makes sockets in the networks of a guest, and tells its kernel the time.
pub trait Networks: Clone + Send + Sync + 'static {
    /// A connection to `address` as from `place`, without Nagle's delay.
    fn dial(
        &self,
        place: &Place,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<TcpStream>> + Send;
    /// A listener at an address of `place`.
    fn listen(
        &self,
        place: &Place,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<TcpListener>> + Send;
    /// A socket bound to an address of `place`.
    fn bind_udp(
        &self,
        place: &Place,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<UdpSocket>> + Send;
    /// Makes up for the time in which the guest did not run. Who is no machine has missed nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn wake(&self, _wake: &Wake) -> io::Result<()> {
        Ok(())
    }
}

/// The one network of a guest that is a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnNetwork;

impl OwnNetwork {
    fn check(place: &Place) -> io::Result<()> {
        match place {
            Place::Own => Ok(()),
            Place::Named(name) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("this guest has no network {name}"),
            )),
        }
    }
}

impl Networks for OwnNetwork {
    async fn dial(&self, place: &Place, address: SocketAddr) -> io::Result<TcpStream> {
        Self::check(place)?;
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn listen(&self, place: &Place, address: SocketAddr) -> io::Result<TcpListener> {
        Self::check(place)?;
        TcpListener::bind(address).await
    }

    async fn bind_udp(&self, place: &Place, address: SocketAddr) -> io::Result<UdpSocket> {
        Self::check(place)?;
        UdpSocket::bind(address).await
    }
}
