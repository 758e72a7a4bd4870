//! The one network of a machine that is a node.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use vial_link::{Networks, OwnNetwork, Place, Wake};

/// Its sockets are those of any program of the node; its kernel is nobody else's, and can be woken.
#[derive(Clone, Copy)]
pub(crate) struct Network;

impl Networks for Network {
    async fn dial(&self, place: &Place, address: SocketAddr) -> io::Result<TcpStream> {
        OwnNetwork.dial(place, address).await
    }

    async fn listen(&self, place: &Place, address: SocketAddr) -> io::Result<TcpListener> {
        OwnNetwork.listen(place, address).await
    }

    async fn bind_udp(&self, place: &Place, address: SocketAddr) -> io::Result<UdpSocket> {
        OwnNetwork.bind_udp(place, address).await
    }

    fn wake(&self, wake: &Wake) -> io::Result<()> {
        crate::wake::wake(wake)
    }
}
