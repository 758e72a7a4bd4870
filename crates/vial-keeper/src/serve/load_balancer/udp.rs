//! A UDP port of the host, whose datagrams go to an address inside and whose answers come back.
//!
//! ```text
//! first datagram of a client ─► flow: a socket inside, for the target ─► silent for a minute ─► gone
//! ```
//! UDP knows no end, so silence is one, and the number of flows is bounded: a flood of clients loses datagrams, which
//! UDP allows, and not descriptors.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use vial_sandbox::{Network, Sandbox};

/// How long a flow may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How many clients a port may have at once.
const FLOWS: usize = 1024;
/// How many datagrams may wait for a flow that is being opened.
const WAITING: usize = 64;
/// The largest datagram, in bytes.
const LARGEST: usize = 65_535;

/// Carries datagrams until the task is dropped.
pub(super) async fn serve(socket: UdpSocket, sandbox: Arc<dyn Sandbox>, target: SocketAddr) {
    let socket = Arc::new(socket);
    let mut flows: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                // An error is an answer that a client did not take (ICMP): nothing of ours.
                let Ok((length, client)) = received else { continue };
                if !flows.contains_key(&client) {
                    if flows.len() >= FLOWS {
                        continue;
                    }
                    let (sender, receiver) = mpsc::channel(WAITING);
                    flows.insert(client, sender);
                    let (socket, sandbox) = (Arc::clone(&socket), Arc::clone(&sandbox));
                    tasks.spawn(async move {
                        if let Err(error) = flow(&socket, client, receiver, sandbox.as_ref(), target).await {
                            tracing::debug!(error = %crate::failure::chain(error.as_ref()), %target, "cannot carry datagrams");
                        }
                        client
                    });
                }
                if let Some(flow) = flows.get(&client) {
                    // Full: this datagram is lost.
                    let _ = flow.try_send(buffer[..length].to_vec());
                }
            }
            Some(ended) = tasks.join_next() => {
                if let Ok(client) = ended {
                    flows.remove(&client);
                }
            }
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One client's datagrams and their answers, until there are none for a while.
async fn flow(
    host: &UdpSocket,
    client: SocketAddr,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
    sandbox: &dyn Sandbox,
    target: SocketAddr,
) -> Result<(), Failure> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let inside = sandbox
        .bind_udp(Network::Management, (any, 0).into())
        .await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        tokio::select! {
            datagram = datagrams.recv() => match datagram {
                // Refused or lost: the next one may arrive.
                Some(datagram) => drop(inside.send_to(&datagram, target).await),
                None => return Ok(()),
            },
            answer = inside.recv_from(&mut buffer) => match answer {
                // A client that went away does not get its answer.
                Ok((length, from)) if from == target => {
                    let _ = host.send_to(&buffer[..length], client).await;
                }
                // Of somebody else, or what became of an earlier one.
                _ => {}
            },
            () = tokio::time::sleep(SILENCE) => return Ok(()),
        }
    }
}
