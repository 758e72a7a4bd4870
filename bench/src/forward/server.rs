//! The server: gives bytes, takes bytes, or says them again.
//!
//! A connection begins with one byte, `g` (give), `t` (take) or `e` (echo); for the first two a number of bytes follows,
//! in 8 bytes, little-endian. Who gave it all gets one byte back.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use vial_sandbox::{Network, Sandbox};

use super::{NODE, PORT};
use crate::Result;

/// Listens in the node's network.
///
/// # Errors
/// When the port is taken there.
pub async fn listen(sandbox: &dyn Sandbox) -> Result<TcpListener> {
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let listener = sandbox.listen(Network::Node(NODE), everywhere).await?;
    let listener = listener.into_tcp();
    Ok(listener.ok_or("only sandboxes of namespaces are measured")?)
}

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener) {
    while let Ok((client, _)) = listener.accept().await {
        // One that went away has what it wanted.
        tokio::spawn(async move { drop(answer(client).await) });
    }
}

async fn answer(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    match client.read_u8().await? {
        b'g' => {
            let mut left = client.read_u64_le().await?;
            let bytes = vec![0; 256 * 1024];
            while left > 0 {
                let now = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                client.write_all(&bytes[..now]).await?;
                left -= now as u64;
            }
        }
        b't' => {
            let length = client.read_u64_le().await?;
            let mut bytes = vec![0; 256 * 1024];
            let mut left = length;
            while left > 0 {
                match client.read(&mut bytes).await? {
                    0 => return Ok(()),
                    read => left = left.saturating_sub(read as u64),
                }
            }
            client.write_u8(0).await?;
        }
        _ => {
            let (mut read, mut write) = client.split();
            copy(&mut read, &mut write).await?;
        }
    }
    Ok(())
}
