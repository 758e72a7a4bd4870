//! The name server of a sandbox, at the gateway's address on the management network.
//!
//! Node names (`w-1`, `w-1.vial`) and `registry.vial` are answered from the specification as it is now. Everything else
//! goes as it is to a resolver of the host (or to those of vial.yaml), over sockets of the host. Without any resolver, and
//! where nothing is to leave the cluster, it refuses at once: a component that looks up a name must not wait.

mod answer;
mod upstreams;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vial_engine::plan::gateways;
use vial_sandbox::{Datagrams, Listener, Network, Sandbox};
use vial_spec::ClusterSpec;

use answer::{Names, refuse};
use upstreams::upstreams;

/// How long one resolver may take before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest message: a TCP message's length has 16 bits (RFC 1035, 4.2.2).
const LARGEST: usize = 65_535;

/// The cluster as it is wanted now.
type Wanted = watch::Receiver<Arc<ClusterSpec>>;

/// Serves until the task is dropped.
pub(crate) async fn serve(sandbox: Arc<dyn Sandbox>, wanted: Wanted) {
    let mut tasks = JoinSet::new();
    let family = wanted.borrow().network.ip_family;
    for address in gateways(family) {
        let address = SocketAddr::from((address, 53));
        match (
            sandbox.bind_udp(Network::Management, address).await,
            sandbox.listen(Network::Management, address).await,
        ) {
            (Ok(udp), Ok(tcp)) => {
                tasks.spawn(serve_udp(udp, wanted.clone()));
                tasks.spawn(serve_tcp(tcp, wanted.clone()));
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(error = %crate::failure::chain(&error), %address, "no name server");
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

async fn serve_udp(socket: Datagrams, wanted: Wanted) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; LARGEST];
    let mut queries = JoinSet::new();
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, client)) = received else { continue };
                let query = buffer[..length].to_vec();
                let (socket, spec) = (Arc::clone(&socket), Arc::clone(&wanted.borrow()));
                queries.spawn(async move {
                    if let Some(answer) = resolve(&query, &spec, ask_udp).await {
                        // A client that went away does not get its answer.
                        let _ = socket.send_to(&answer, client).await;
                    }
                });
            }
            Some(_) = queries.join_next() => {}
        }
    }
}

async fn serve_tcp(listener: Listener, wanted: Wanted) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut client, _)) = accepted else { continue };
                let wanted = wanted.clone();
                clients.spawn(async move {
                    while let Ok(query) = read_message(&mut client).await {
                        let spec = Arc::clone(&wanted.borrow());
                        let Some(answer) = resolve(&query, &spec, ask_tcp).await else { break };
                        if write_message(&mut client, &answer).await.is_err() {
                            break;
                        }
                    }
                });
            }
            Some(_) = clients.join_next() => {}
        }
    }
}

/// The answer to a query: ours, or that of the first resolver that gives one; `None` for what is no query.
async fn resolve<F: Future<Output = io::Result<Vec<u8>>>>(
    query: &[u8],
    spec: &ClusterSpec,
    ask: impl Fn(Vec<u8>, SocketAddr) -> F,
) -> Option<Vec<u8>> {
    if let Some(answer) = Names::of(spec).answer(query)? {
        return Some(answer);
    }
    let upstreams = upstreams(spec);
    for upstream in &upstreams {
        if let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, ask(query.to_vec(), *upstream)).await
        {
            return Some(answer);
        }
    }
    refuse(query, upstreams.is_empty())
}

async fn ask_udp(query: Vec<u8>, upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = if upstream.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    // A socket of its own for each query: a port that nobody can guess, and no answer of another query.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(upstream).await?;
    socket.send(&query).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer[..length].get(..2) == query.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(query: Vec<u8>, upstream: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_message(&mut stream, &query).await?;
    read_message(&mut stream).await
}

/// Reads a DNS message from a stream (RFC 1035, 4.2.2).
pub(crate) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a DNS message to a stream.
pub(crate) async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &[u8],
) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}
