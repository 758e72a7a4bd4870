//! The loopback ports of the host that a cluster has for its whole life: chosen at its creation, taken again by every
//! keeper.

use std::io;
use std::net::Ipv4Addr;

use tokio::net::TcpListener;
use vial_engine::record::Record;

/// Something else listens where the cluster has to.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on 127.0.0.1:{port}, the port of the cluster's {whose}")]
pub(crate) struct PortTaken {
    port: u16,
    whose: &'static str,
    #[source]
    source: io::Error,
}

/// The listeners.
pub(crate) struct OwnPorts {
    pub(crate) api: TcpListener,
    pub(crate) registry: TcpListener,
}

impl OwnPorts {
    /// Free ones, for a new cluster.
    pub(crate) fn free() -> io::Result<Self> {
        Ok(Self {
            api: listen(0)?,
            registry: listen(0)?,
        })
    }

    /// Those of an existing cluster.
    ///
    /// # Errors
    /// When another program has one of them.
    pub(crate) fn of(record: &Record) -> Result<Self, PortTaken> {
        let take = |port, whose| {
            listen(port).map_err(|source| PortTaken {
                port,
                whose,
                source,
            })
        };
        Ok(Self {
            api: take(record.api_port, "API")?,
            registry: take(record.registry_port, "registry")?,
        })
    }
}

/// Listens on a loopback port of the host; 0 takes a free one.
fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
