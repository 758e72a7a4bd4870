//! A machine that is a sandbox: its PID 1 is the first process of every sandbox, and makes the same containers.
//!
//! | path | in the machine |
//! |---|---|
//! | `/vial/image` | the node image, which is the one layer of all containers |
//! | `/vial/cluster` | the machine's own disk |
//! | `/vial/run` | memory: it ends with the machine |
//! | `/vial/bin/vial` | the program |

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use vial_agent::Ended;
use vial_link::{Networks, PORT_NAME, Place, VirtioPort, Wake};
use vial_net::{Inside, NetError};
use vial_node::init;
use vial_sys::SysError;
use vial_sys::identity::Process;
use vial_sys::mounts::{self, Flags};

use crate::Error;

/// Where what ends with the machine lies.
const RUN: &str = "/vial/run";

/// Serves until the machine is switched off.
pub(crate) fn serve() -> Result<Ended, Error> {
    mounts::tmpfs(Path::new(RUN), Flags::NOSUID | Flags::NODEV, "755")?;
    let networks = OfNodes {
        me: Arc::new(Process::open(std::process::id())?),
    };
    let port = VirtioPort::named(PORT_NAME);
    let socket = Path::new(RUN).join(init::SOCKET);
    let line = vial_link::serve(port, socket, networks);
    init::serve(|| {}, line)?;
    Err(SysError::other("serve the sandbox", "it has ended by itself").into())
}

/// The networks of a sandbox: its own, and those of its nodes.
#[derive(Clone)]
struct OfNodes {
    me: Arc<Process>,
}

impl OfNodes {
    fn at(&self, place: &Place) -> Result<Inside, NetError> {
        let me = Arc::clone(&self.me);
        match place {
            Place::Own => Ok(Inside::of(me)),
            Place::Named(node) => Inside::node(me, std::process::id(), node),
        }
    }
}

fn to_io(error: NetError) -> io::Error {
    io::Error::new(error.source.kind(), error.line())
}

impl Networks for OfNodes {
    async fn dial(&self, place: &Place, address: SocketAddr) -> io::Result<TcpStream> {
        self.at(place)
            .map_err(to_io)?
            .dial(address)
            .await
            .map_err(to_io)
    }

    async fn listen(&self, place: &Place, address: SocketAddr) -> io::Result<TcpListener> {
        self.at(place)
            .map_err(to_io)?
            .listen(address)
            .await
            .map_err(to_io)
    }

    async fn bind_udp(&self, place: &Place, address: SocketAddr) -> io::Result<UdpSocket> {
        self.at(place)
            .map_err(to_io)?
            .bind_udp(address)
            .await
            .map_err(to_io)
    }

    fn wake(&self, wake: &Wake) -> io::Result<()> {
        crate::wake::wake(wake)
    }
}
