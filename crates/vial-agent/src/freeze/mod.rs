//! Dumps the components that run and brings them back, by CRIU (criu(8)), which is part of the node image.
//!
//! ```text
//! dump:    halt ──► CRIU, one for each component, all at once ┐
//!   (SIGSTOP, all)  copies of directories                     ┴─► go on ──► record ──► renamed to its name
//! restore: hold connections ──► CRIU, one for each, all at once ──► let go ──► SIGCONT, all ──► adopted by the supervisor
//! ```
//! The components are halted first so that their dumps, the connections between them and the files they write in place
//! are all of one moment: nobody sends, so what one end of a connection has sent the other end has. A process that was
//! halted when it was dumped is halted when it comes back; so all of them can be there before the first one goes on.
//! Its monotonic clock goes on where it stopped, since CRIU gives it a time namespace (time_namespaces(7)): timers and
//! leases that are counted by it do not notice how long the freezer was shut.
//!
//! The agent itself is no part of a dump: it has clients outside. Their connections to components come back without
//! their other ends, which answer by a reset.
//!
//! # Who owns the critical section
//! A task of the agent, which no caller cuts: when a caller goes away, the components go on. That they go on is the drop
//! of [`halt::Halted`], on every path.
//!
//! # On failure
//! What is half made lies beside the dump's name, is removed at once, and by the next dump otherwise. Processes that were
//! brought back are killed when another one could not be.
//!
//! # Numbers
//! A process comes back with the numbers of its processes and threads, and they must be free. So components get numbers
//! above [`FIRST_PID`], and the agent of a new container, which has hardly begun to count, stays below.

mod criu;
mod dump;
mod halt;
mod hold;
mod restore;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use tonic::Status;
use vial_sys::{SysError, error_chain};

use crate::reaper::Reaper;
use crate::supervisor::{Gone, Supervisor};

/// Below it are the agent and what it runs before anything is brought back. The kernel itself begins anew at 300 when
/// numbers run out (`RESERVED_PIDS`).
const FIRST_PID: u32 = 1000;

/// The name of [`vial_rpc::DumpRecord`] in a dump.
const RECORD: &str = "record";

/// Has components numbered above [`FIRST_PID`] from now on; what was made before keeps its numbers. Once is enough, and an
/// agent that is not the first of a pid namespace counts with others.
pub(crate) fn number_components() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        if std::process::id() != 1 {
            return;
        }
        // Where it cannot be done, components run all the same, and cannot be brought back.
        if let Err(error) = vial_sys::pids::number_after(FIRST_PID) {
            tracing::debug!("{}", error.line());
        }
    });
}

/// Why components cannot be dumped or brought back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FreezeError {
    #[error("cannot dump {name} now: it is being stopped")]
    Stopping { name: String },
    #[error("nothing runs here that could be dumped")]
    Nothing,
    #[error("there is no program criu in {path}")]
    NoCriu { path: String },
    #[error("cannot dump {name} (process {pid}): {reason}")]
    Dump {
        name: String,
        pid: i32,
        reason: String,
    },
    #[error("cannot bring back {name} (process {pid}): {reason}")]
    Restore {
        name: String,
        pid: i32,
        reason: String,
    },
    #[error("cannot bring anything back: {name} is there already")]
    Known { name: String },
    #[error("cannot halt {name} (process {pid})")]
    Halt {
        name: String,
        pid: i32,
        source: io::Error,
    },
    #[error("cannot hold connections: {reason}")]
    Hold { reason: String },
    #[error("cannot {operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Sys(#[from] SysError),
    #[error("{0} is no dump: its record is damaged")]
    Damaged(PathBuf),
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error("the work was interrupted")]
    Interrupted,
}

impl FreezeError {
    fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }
}

impl From<FreezeError> for Status {
    fn from(error: FreezeError) -> Self {
        let text = error_chain(&error);
        match error {
            FreezeError::Gone(_) | FreezeError::Stopping { .. } => Self::unavailable(text),
            FreezeError::Interrupted => Self::internal(text),
            FreezeError::Known { .. } => Self::already_exists(text),
            FreezeError::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Self::resource_exhausted(text)
            }
            _ => Self::failed_precondition(text),
        }
    }
}

/// Dumps and restores, one at a time.
#[derive(Clone)]
pub(crate) struct Freezer {
    supervisor: Supervisor,
    reaper: Arc<Reaper>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Freezer {
    pub(crate) fn new(supervisor: Supervisor, reaper: Arc<Reaper>) -> Self {
        Self {
            supervisor,
            reaper,
            turn: Arc::default(),
        }
    }
}
