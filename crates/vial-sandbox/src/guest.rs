//! Sockets in a network of a virtual machine, by the link into it: of a node, or of the machine that is a whole sandbox.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use vial_link::{OpenError, Place, Target};
use vial_sys::error_chain;

use crate::{Connection, Datagrams, Listener};

/// One network of a guest.
pub(crate) struct Guest {
    /// Where the link is dialled.
    pub(crate) link: PathBuf,
    pub(crate) place: Place,
}

impl Guest {
    pub(crate) async fn dial(self, address: SocketAddr) -> io::Result<Connection> {
        let target = Target::Dial(self.place, address);
        let dialled = vial_link::dial(&self.link, &target).await;
        dialled.map(Connection::Link).map_err(told)
    }

    pub(crate) async fn listen(self, address: SocketAddr) -> io::Result<Listener> {
        let listening = vial_link::listen(&self.link, self.place, address).await;
        listening.map(Listener::Link).map_err(told)
    }

    pub(crate) async fn bind_udp(self, address: SocketAddr) -> io::Result<Datagrams> {
        let bound = vial_link::bind_udp(&self.link, self.place, address).await;
        bound.map(Datagrams::Link).map_err(told)
    }
}

fn told(cause: OpenError) -> io::Error {
    io::Error::other(error_chain(&cause))
}
