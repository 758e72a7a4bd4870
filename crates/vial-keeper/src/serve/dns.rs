//! The name server of a sandbox, at the gateway's address on the management network.
//!
//! Node names (`w-1`, `w-1.vial`) and `registry.vial` are answered from the plan. Everything else goes as it is to a resolver of the host
//! (or to those of vial.yaml), over sockets of the host. Without any resolver it refuses at once: a component that
//! looks up a name must not wait.

mod answer;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use vial_engine::plan::gateways;
use vial_sandbox::{Network, Sandbox};
use vial_spec::ClusterSpec;

use answer::{Names, refuse};

/// How long one resolver may take before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest message: a TCP message's length has 16 bits (RFC 1035, 4.2.2).
const LARGEST: usize = 65_535;

/// Serves until the task is dropped.
pub(crate) async fn serve(sandbox: Arc<dyn Sandbox>, spec: ClusterSpec) {
    let names = Arc::new(Names::of(&spec));
    let upstreams: Arc<[SocketAddr]> = match &spec.network.dns_upstreams {
        own if own.is_empty() => {
            of_host(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
        }
        own => own.clone(),
    }
    .into();
    let mut tasks = JoinSet::new();
    for address in gateways(spec.network.ip_family) {
        let address = SocketAddr::from((address, 53));
        match (
            sandbox.bind_udp(Network::Management, address).await,
            sandbox.listen(Network::Management, address).await,
        ) {
            (Ok(udp), Ok(tcp)) => {
                tasks.spawn(serve_udp(udp, Arc::clone(&names), Arc::clone(&upstreams)));
                tasks.spawn(serve_tcp(tcp, Arc::clone(&names), Arc::clone(&upstreams)));
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(error = %crate::failure::chain(&error), %address, "no name server");
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// The name servers of a resolv.conf(5).
fn of_host(text: &str) -> Vec<SocketAddr> {
    let servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .map(|address| (address, 53).into())
        .collect()
}

async fn serve_udp(socket: UdpSocket, names: Arc<Names>, upstreams: Arc<[SocketAddr]>) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; LARGEST];
    let mut queries = JoinSet::new();
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let Ok((length, client)) = received else { continue };
                let query = buffer[..length].to_vec();
                let (socket, names, upstreams) = (Arc::clone(&socket), Arc::clone(&names), Arc::clone(&upstreams));
                queries.spawn(async move {
                    if let Some(answer) = resolve(&query, &names, &upstreams, ask_udp).await {
                        // A client that went away does not get its answer.
                        let _ = socket.send_to(&answer, client).await;
                    }
                });
            }
            Some(_) = queries.join_next() => {}
        }
    }
}

async fn serve_tcp(listener: TcpListener, names: Arc<Names>, upstreams: Arc<[SocketAddr]>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut client, _)) = accepted else { continue };
                let (names, upstreams) = (Arc::clone(&names), Arc::clone(&upstreams));
                clients.spawn(async move {
                    while let Ok(query) = read_message(&mut client).await {
                        let Some(answer) = resolve(&query, &names, &upstreams, ask_tcp).await else { break };
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
    names: &Names,
    upstreams: &[SocketAddr],
    ask: impl Fn(Vec<u8>, SocketAddr) -> F,
) -> Option<Vec<u8>> {
    if let Some(answer) = names.answer(query)? {
        return Some(answer);
    }
    for upstream in upstreams {
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
pub(crate) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a DNS message to a stream.
pub(crate) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    stream.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_resolvers_are_read_as_resolv_conf_has_them() {
        let text = "# one\nsearch example.org\nnameserver 192.0.2.1\n nameserver  2001:db8::1\nnameserver nonsense\n";
        let expected: Vec<SocketAddr> = vec![
            "192.0.2.1:53".parse().expect("v4"),
            "[2001:db8::1]:53".parse().expect("v6"),
        ];
        assert_eq!(of_host(text), expected);
    }
}
