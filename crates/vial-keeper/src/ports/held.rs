//! Sockets of the host for forwarded ports: taken before anything else is done, or whose they are.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use vial_engine::record::OpenPort;
use vial_sys::socket::{self, Transport};

use super::{Ports, owner};

/// How many connections may wait to be accepted; the kernel has a limit of its own (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// A port of the host that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {reason}")]
pub(crate) struct Taken {
    address: SocketAddr,
    /// `taken by nginx (pid 42)`.
    pub(super) reason: String,
}

impl Taken {
    /// It could be had, and nothing can be done with it.
    pub(super) fn unserved(address: SocketAddr, error: &io::Error) -> Self {
        let reason = format!("not served: {error}");
        Self { address, reason }
    }

    /// The next step.
    pub(crate) fn hint(&self) -> String {
        "take another port of the host; 0 is a free one".to_owned()
    }
}

/// A forwarded port and the socket for it.
pub(crate) struct Held {
    pub(crate) port: OpenPort,
    pub(super) socket: Result<TcpListener, Taken>,
}

impl Held {
    /// Takes the port of the host, unless `ports` has it already: then it changes hands without being closed.
    pub(crate) fn take(wanted: OpenPort, ports: Option<&Ports>) -> Self {
        let address = wanted.resolved().host();
        let own = ports.and_then(|ports| ports.socket_at(address));
        let socket = own.map_or_else(|| listen(address), Ok);
        let chosen = socket.as_ref().ok().and_then(|one| one.local_addr().ok());
        Self {
            port: OpenPort {
                port: chosen.map_or(wanted.port, |chosen| chosen.port()),
                ..wanted
            },
            socket,
        }
    }

    /// All of them that can be had; some are held already.
    pub(crate) fn take_some(
        wanted: Vec<OpenPort>,
        mut held: Vec<Self>,
        ports: &Ports,
    ) -> Vec<Self> {
        let mut take = |one: OpenPort| match held.iter().position(|held| held.port == one) {
            Some(index) => held.swap_remove(index),
            None => Self::take(one, Some(ports)),
        };
        wanted.into_iter().map(&mut take).collect()
    }

    /// All of them, or the first that cannot be had; of those that were `known` before it is tried again later.
    pub(crate) fn take_all(
        wanted: Vec<OpenPort>,
        known: &[OpenPort],
        ports: Option<&Ports>,
    ) -> Result<Vec<Self>, Taken> {
        let take = |one: OpenPort| {
            let known = known.contains(&one);
            match Self::take(one, ports) {
                Self {
                    socket: Err(taken), ..
                } if !known => Err(taken),
                held => Ok(held),
            }
        };
        wanted.into_iter().map(take).collect()
    }
}

/// Listens there.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let plain = |error: vial_sys::SysError| error.source;
    let socket: OwnedFd = socket::open(Transport::Tcp, address.is_ipv6()).map_err(plain)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    socket::bind(&socket, address).map_err(plain)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// As [`bind`], but says whose it is.
fn listen(address: SocketAddr) -> Result<TcpListener, Taken> {
    bind(address).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => match owner::of(address) {
                Some(owner) => format!("taken by {owner}"),
                None => "taken".to_owned(),
            },
            io::ErrorKind::AddrNotAvailable => "no address of this machine".to_owned(),
            _ => format!("not available: {error}"),
        };
        Taken { address, reason }
    })
}

#[cfg(test)]
mod tests {
    use vial_spec::port::PortForward;

    use super::*;

    fn wanted(text: &str) -> OpenPort {
        let forward: PortForward = text.parse().expect("a port");
        OpenPort {
            port: forward.port,
            forward,
        }
    }

    #[test]
    fn one_that_is_taken_is_named_with_its_owner_and_the_others_are_let_go() {
        let free = Held::take(wanted("0:w-1:80"), None);
        assert_ne!(free.port.port, 0, "a free one was chosen");
        let text = format!("{}:w-1:81", free.port.port);
        let error = Held::take_all(vec![wanted("[::1]:0:w-1:80"), wanted(&text)], &[], None);
        let error = error.err().expect("taken").to_string();
        let me = format!("(pid {})", std::process::id());
        let head = format!("127.0.0.1:{} is taken by ", free.port.port);
        assert!(error.starts_with(&head) && error.ends_with(&me), "{error}");
        // One that the cluster had before must not keep it from being started.
        let known = [wanted(&text)];
        assert!(Held::take_all(known.to_vec(), &known, None).is_ok());
        drop(free);
        assert!(Held::take_all(known.to_vec(), &[], None).is_ok());
    }

    #[test]
    fn an_address_that_is_not_there_is_told() {
        let held = Held::take(wanted("192.0.2.1:0:w-1:80,public"), None);
        let error = held.socket.expect_err("no such address").to_string();
        assert_eq!(error, "192.0.2.1:0 is no address of this machine");
    }
}
