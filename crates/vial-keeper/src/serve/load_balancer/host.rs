//! The ports of one Service on the host, at its loopback address.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio_util::task::AbortOnDropHandle;
use vial_sandbox::{Listener, Sandbox};

use super::udp;
use super::wanted::{Port, Protocol, Unserved, Wanted};
use crate::serve::forward::{self, Permits};

/// Open ports, each with the task that serves it.
#[derive(Default)]
pub(super) struct Host {
    open: BTreeMap<Port, Open>,
}

struct Open {
    local: SocketAddr,
    target: SocketAddr,
    task: AbortOnDropHandle<()>,
}

impl Host {
    /// Opens, keeps and closes ports until they are those of the Service; tells which ones cannot be had.
    pub(super) async fn serve(
        &mut self,
        wanted: &Wanted,
        address: Ipv4Addr,
        sandbox: &Arc<dyn Sandbox>,
    ) -> BTreeMap<Port, Unserved> {
        let place = |port: &Port| {
            (
                SocketAddr::from((address, port.1)),
                SocketAddr::from((wanted.target, port.1)),
            )
        };
        let stays = |port: &Port, open: &Open| {
            wanted.admits_host
                && wanted.ports.contains(port)
                && (open.local, open.target) == place(port)
        };
        let (open, others) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(port, open)| stays(port, open));
        self.open = open;
        close(others).await;

        let mut unserved = BTreeMap::new();
        for port in &wanted.ports {
            if self.open.contains_key(port) {
                continue;
            }
            let (local, target) = place(port);
            let refused = match port.0 {
                _ if !wanted.admits_host => Unserved::SourceRanges,
                Protocol::Sctp => Unserved::Protocol,
                Protocol::Tcp | Protocol::Udp => {
                    match open_port(port.0, local, target, sandbox).await {
                        Ok(task) => {
                            self.open.insert(
                                *port,
                                Open {
                                    local,
                                    target,
                                    task,
                                },
                            );
                            continue;
                        }
                        Err(error) => {
                            tracing::warn!(%error, %local, "cannot serve a port of a load balancer");
                            Unserved::NotAvailable
                        }
                    }
                }
            };
            unserved.insert(*port, refused);
        }
        unserved
    }

    /// Closes all ports; they are free when this returns.
    pub(super) async fn close(self) {
        close(self.open).await;
    }
}

async fn close(ports: BTreeMap<Port, Open>) {
    for open in ports.into_values() {
        open.task.abort();
        // Cut off, as was wanted; the socket is closed with it.
        let _ = open.task.await;
    }
}

async fn open_port(
    protocol: Protocol,
    local: SocketAddr,
    target: SocketAddr,
    sandbox: &Arc<dyn Sandbox>,
) -> io::Result<AbortOnDropHandle<()>> {
    let sandbox = Arc::clone(sandbox);
    let task = match protocol {
        Protocol::Udp => tokio::spawn(udp::serve(UdpSocket::bind(local).await?, sandbox, target)),
        _ => tokio::spawn(forward::serve(
            Listener::Tcp(TcpListener::bind(local).await?),
            Permits::of_a_port(),
            Arc::default(),
            forward::direct(sandbox, target),
        )),
    };
    Ok(AbortOnDropHandle::new(task))
}
