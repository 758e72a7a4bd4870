//! Bare sockets, made in the network namespace of the calling thread.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use crate::{During, SysError};

/// What a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Opens a socket, non-blocking and close-on-exec; one of IPv6 takes IPv6 only, so that both families can be bound to
/// one port.
///
/// # Errors
/// When there are too many descriptors, or the kernel has no such family.
pub fn open(transport: Transport, ipv6: bool) -> Result<OwnedFd, SysError> {
    let family = if ipv6 {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let (kind, protocol) = match transport {
        Transport::Tcp => (SocketType::STREAM, ipproto::TCP),
        Transport::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, kind, flags, Some(protocol))
        .during(|| "open a socket".to_owned())?;
    if ipv6 {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)
            .during(|| "set IPV6_V6ONLY".to_owned())?;
    }
    Ok(socket)
}

/// Binds a socket to an address.
///
/// # Errors
/// When it is taken or not there.
pub fn bind(socket: impl AsFd, address: SocketAddr) -> Result<(), SysError> {
    rustix::net::bind(socket, &address).during(|| format!("bind {address}"))
}
