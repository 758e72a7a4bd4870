//! Echoes over a ping socket (icmp(7), `net.ipv4.ping_group_range`), or over a raw one (CAP_NET_RAW).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use tokio::net::UdpSocket;

use super::packet::{self, Family};

/// One address that is asked.
pub(super) struct Echo {
    /// Of ICMP; to whoever sends and receives datagrams it is like one of UDP.
    socket: UdpSocket,
    family: Family,
    identifier: u16,
    token: u64,
    sequence: u16,
}

impl Echo {
    /// `own` tells apart those of one process.
    ///
    /// The error is `PermissionDenied` when neither kind of socket is permitted.
    pub(super) fn new(address: IpAddr, own: u16) -> io::Result<Self> {
        let family = match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let socket = open(family)?;
        // Only its answers arrive then, and errors about it.
        rustix::net::connect(&socket, &SocketAddr::new(address, 0))?;
        let socket = UdpSocket::from_std(socket.into())?;
        let token = crate::forward::agent::random()?;
        let process = std::process::id().to_be_bytes();
        Ok(Self {
            socket,
            family,
            identifier: u16::from_be_bytes([process[2], process[3]]).wrapping_add(own),
            token,
            sequence: 0,
        })
    }

    /// One request, and how long its answer took.
    pub(super) async fn ask(&mut self) -> io::Result<Duration> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = packet::request(self.family, self.identifier, self.sequence, self.token);
        let begun = Instant::now();
        self.socket.send(&request).await?;
        let mut buffer = [0; 256];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            // A late answer to an earlier request, or another's, is not this one's.
            if packet::sequence(self.family, &buffer[..length], self.token) == Some(self.sequence) {
                return Ok(begun.elapsed());
            }
        }
    }
}

fn open(family: Family) -> io::Result<std::os::fd::OwnedFd> {
    let (domain, protocol) = match family {
        Family::V4 => (AddressFamily::INET, ipproto::ICMP),
        Family::V6 => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let open = |kind| rustix::net::socket_with(domain, kind, flags, Some(protocol));
    match open(SocketType::DGRAM) {
        // A kernel without ping sockets of this family says that it does not know them.
        Err(Errno::ACCESS | Errno::PERM | Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => {}
        result => return Ok(result?),
    }
    Ok(open(SocketType::RAW)?)
}
