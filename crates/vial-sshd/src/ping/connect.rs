//! Connections as a question: how long TCP's handshake takes.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// Connects to the first address that takes it. Only that attempt counts.
pub(super) async fn connect(addresses: &[IpAddr], port: u16) -> io::Result<Duration> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    for address in addresses {
        let begun = Instant::now();
        match TcpStream::connect((*address, port)).await {
            Ok(_) => return Ok(begun.elapsed()),
            Err(error) => last = error,
        }
    }
    Err(last)
}
