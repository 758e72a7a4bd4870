//! `--detach`: a server in the background of a container that somebody else's entry point is PID 1 of.
//!
//! ```text
//!  call ──fork──► server: session of its own, orphans' parent ──► keys, socket, accounts ──► ready ──► serves
//!    │                └ one serves already: 0                         └ wrong: its code       │ output to the
//!    └ waits ◄────────────────────────────────── ready, or its code ◄─────────────────────────┘ container's log
//! ```
//! Kubernetes runs it as a postStart hook, which is over when the call has ended and nobody holds its output any more.
//! Until it is ready, the server says on the caller's standard error what is wrong.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::fs::OFlags;
use rustix::process::{Pid, WaitOptions};
use vial_sys::SysError;
use vial_sys::process::{self, Fork};

/// Why there is nothing in the background.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DetachError {
    #[error("cannot go to the background")]
    Fork { source: SysError },
    #[error("cannot wait for the server in the background")]
    Wait { source: io::Error },
    #[error("cannot leave what the caller gave")]
    Leave { source: io::Error },
}

/// Which process goes on.
pub(crate) enum Side {
    /// The caller's, which ends with this code.
    Caller(i32),
    /// The server's.
    Server(Ready),
}

/// What the server tells its caller, once.
pub(crate) struct Ready(OwnedFd);

/// Splits the process; before it has a second thread.
pub(crate) fn split() -> Result<Side, DetachError> {
    let fork = |source| DetachError::Fork { source };
    // A careless caller's descriptors would live as long as the container. Kernels that cannot do it all at once do
    // without: nothing but space is lost.
    let _ = process::close_inherited(3);
    let (told, tell) = process::pipe().map_err(fork)?;
    match process::fork().map_err(fork)? {
        Fork::Parent(child) => {
            drop(tell);
            wait(child, told).map(Side::Caller)
        }
        Fork::Child => {
            process::new_session().map_err(fork)?;
            // What sessions leave behind is this server's to reap: not every entry point does it.
            rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(
                |error| DetachError::Leave {
                    source: error.into(),
                },
            )?;
            Ok(Side::Server(Ready(tell)))
        }
    }
}

/// The code of the caller: 0 when the server is ready, else the server's own.
fn wait(child: i32, told: OwnedFd) -> Result<i32, DetachError> {
    let failed = |source| DetachError::Wait { source };
    let mut word = Vec::new();
    File::from(told).read_to_end(&mut word).map_err(failed)?;
    if !word.is_empty() {
        return Ok(0);
    }
    let ended = rustix::process::waitpid(Pid::from_raw(child), WaitOptions::empty());
    let (_, status) = ended
        .map_err(io::Error::from)
        .and_then(|ended| ended.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(failed)?;
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    Ok(status.exit_status().or_else(signal).unwrap_or(1))
}

impl Ready {
    /// Leaves the caller's descriptors for the container's, and lets the caller go.
    pub(crate) fn tell(self) -> Result<(), DetachError> {
        let leave = |source| DetachError::Leave { source };
        let nothing = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(leave)?;
        process::place(&nothing, 0).map_err(|error| leave(io::Error::other(error)))?;
        for number in [1, 2] {
            let output = output_of_first(number);
            let output = output.as_ref().unwrap_or(&nothing);
            process::place(output, number).map_err(|error| leave(io::Error::other(error)))?;
        }
        // It fails when the caller was killed meanwhile; the server is there all the same.
        let _ = File::from(self.0).write_all(b"ready");
        Ok(())
    }
}

/// Where PID 1, and so the container's log, takes what is said; `None` where that is a socket, or another user's.
fn output_of_first(number: i32) -> Option<File> {
    OpenOptions::new()
        .append(true)
        // A log that nobody reads must not hold the server up, and a terminal must not become its own.
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(format!("/proc/1/fd/{number}"))
        .ok()
}

/// Says that a server serves this port in this container, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Mark(#[expect(dead_code, reason = "held for its name")] UnixDatagram);

impl Mark {
    /// `None` when another server has it. An abstract name needs no directory, and goes with its owner; the number of
    /// the mount namespace is the container's own even where it shares its network, or its processes, with others.
    pub(crate) fn take(port: u16) -> io::Result<Option<Self>> {
        let container = std::fs::read_link("/proc/self/ns/mnt")?;
        let name = format!("vial-sshd/{}/{port}", container.display());
        match UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?) {
            Ok(socket) => Ok(Some(Self(socket))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error),
        }
    }
}
