//! Bytes between two connections, moved by the kernel: socket → pipe → socket (splice(2)), not through our memory.
//!
//! ```text
//! open ──(one side's FIN)──► half open: passed on as FIN ──(the other's)──► ended
//!   └────────(RST, or nobody takes the bytes any more)─────────────────────► cut: RST to both sides
//! ```
//! # Invariants
//! - A connection on which nothing moves has its two descriptors and no memory: a pipe is borrowed while bytes are under way.
//! - What is under way is at most [`CHUNK`] in each direction; who reads slowly slows its sender down.
//! - There are at most [`PIPES`] pipes, and [`KEPT`] when nothing moves. Further connections that are busy at the same time get a small buffer instead.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;

/// What a pipe holds, in bytes.
const CHUNK: usize = 256 * 1024;
/// How many pipes there may be at once, each with two descriptors.
pub const PIPES: usize = 256;
/// How many are kept for the next one who needs one. A thread works on one connection at a time, so few are in use
/// unless somebody reads slowly.
const KEPT: usize = 4;
/// What a buffer holds, in bytes.
const BUFFER: usize = 16 * 1024;

/// How long a connection may be silent before the kernel asks whether the other side still is.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Passes bytes both ways until both are ended; each end is passed on by itself, a cut connection cuts the other one.
///
/// # Errors
/// Why it was cut. That is the business of the two sides, who know it by then.
pub async fn relay(one: TcpStream, two: TcpStream) -> io::Result<()> {
    for socket in [&one, &two] {
        // What is passed on was batched by its sender already.
        socket.set_nodelay(true)?;
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    }
    let (mut there, mut back) = (pin!(flow(&one, &two)), pin!(flow(&two, &one)));
    let passed = async {
        // Nobody reads any more from the side that has ended, so nobody else would see that it is cut.
        tokio::select! {
            ended = &mut there => {
                ended?;
                tokio::select! { ended = &mut back => ended, cut = cut(&one) => Err(cut) }
            }
            ended = &mut back => {
                ended?;
                tokio::select! { ended = &mut there => ended, cut = cut(&two) => Err(cut) }
            }
        }
    }
    .await;
    if passed.is_err() {
        // Closed so, it is an RST (tcp(7), socket(7) SO_LINGER).
        let _ = one.set_zero_linger();
        let _ = two.set_zero_linger();
    }
    passed
}

/// Resolves when a connection is cut.
async fn cut(socket: &TcpStream) -> io::Error {
    match socket.ready(Interest::ERROR).await {
        Ok(_) => socket
            .take_error()
            .ok()
            .flatten()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        Err(error) => error,
    }
}

/// Passes bytes one way, then the end.
async fn flow(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut carrier = Carrier::take();
        loop {
            match from.try_io(Interest::READABLE, || carrier.fill(from)) {
                Ok(0) => return shutdown(to),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            while !carrier.is_empty() {
                match to.try_io(Interest::WRITABLE, || carrier.drain(to)) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        to.writable().await?
                    }
                    Err(error) => return Err(error),
                }
            }
            // A connection that always has more must not keep the others waiting.
            consume_budget().await;
        }
    }
}

fn shutdown(socket: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(socket, rustix::net::Shutdown::Write) {
        // It has ended already.
        Err(rustix::io::Errno::NOTCONN) => Ok(()),
        other => Ok(other?),
    }
}

/// What carries bytes from one socket to the other; filled only when empty.
enum Carrier {
    Pipe {
        pipe: Option<Pipe>,
        filled: usize,
    },
    Buffer {
        bytes: Box<[u8; BUFFER]>,
        filled: std::ops::Range<usize>,
    },
}

impl Carrier {
    fn take() -> Self {
        match Pipe::take() {
            Some(pipe) => Self::Pipe {
                pipe: Some(pipe),
                filled: 0,
            },
            None => Self::Buffer {
                bytes: Box::new([0; BUFFER]),
                filled: 0..0,
            },
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Pipe { filled, .. } => *filled == 0,
            Self::Buffer { filled, .. } => filled.is_empty(),
        }
    }

    /// 0: the end.
    fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        match self {
            Self::Pipe { pipe, filled } => {
                *filled = match pipe {
                    Some(pipe) => splice(from, None, &pipe.write, None, CHUNK, NOW)?,
                    None => 0,
                };
                Ok(*filled)
            }
            Self::Buffer { bytes, filled } => {
                let (length, _) =
                    rustix::net::recv(from, &mut bytes[..], rustix::net::RecvFlags::empty())?;
                *filled = 0..length;
                Ok(length)
            }
        }
    }

    fn drain(&mut self, to: &TcpStream) -> io::Result<()> {
        match self {
            Self::Pipe { pipe, filled } => {
                if let Some(pipe) = pipe {
                    *filled -= splice(&pipe.read, None, to, None, *filled, NOW)?;
                }
            }
            Self::Buffer { bytes, filled } => {
                let rest = &bytes[filled.clone()];
                filled.start += rustix::net::send(to, rest, rustix::net::SendFlags::NOSIGNAL)?;
            }
        }
        Ok(())
    }
}

const NOW: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Drop for Carrier {
    fn drop(&mut self) {
        if let Self::Pipe { pipe, filled: 0 } = self
            && let Some(pipe) = pipe.take()
        {
            pipe.give_back();
        }
    }
}

/// A pipe that was empty when it was given back.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// Those that are kept.
static IDLE: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());
/// All of them.
static MADE: AtomicUsize = AtomicUsize::new(0);

impl Pipe {
    fn take() -> Option<Self> {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().or_else(|| {
            drop(idle);
            Self::make()
        })
    }

    fn make() -> Option<Self> {
        if MADE.fetch_add(1, Ordering::Relaxed) < PIPES
            && let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        {
            // A smaller one works as well.
            let _ = fcntl_setpipe_size(&write, CHUNK);
            return Some(Self { read, write });
        }
        MADE.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn give_back(self) {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(self);
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        MADE.fetch_sub(1, Ordering::Relaxed);
    }
}
