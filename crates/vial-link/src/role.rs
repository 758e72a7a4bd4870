//! The role `vial-link`: serves a guest at unix sockets of the host.
//!
//! ```text
//! vial-link --line /run/vial/link.sock --agent AGENT.SOCK [--dial DIAL.SOCK] [--once]
//!
//!          wait for QEMU's socket, connect ◄──────────────┐
//!                     │                                   │ the line has ended
//!                     ▼                                   │
//!          call until the guest answers ◄──────────┐      │
//!                     │                            │ the session is over: sockets removed
//!                     ▼                            │      │
//!          ask for the agent ──► sockets there ────┴──────┘
//! ```
//!
//! # Invariants
//! - **A socket that is there means: the agent answers.** Both appear when the guest has connected a first stream to it, whole and
//!   for their owner only, and go when the session is over: when the guest starts anew, ends, or QEMU does.
//! - SIGTERM and SIGINT end it, and remove the sockets. After a kill they are left, and removed by the next one first.

mod arguments;
mod sockets;
mod wait;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use vial_sys::error_chain;

use crate::host::{Host, OpenError, Opener};
use crate::target::Target;
use crate::wake::Wake;
use arguments::Arguments;
use sockets::Sockets;

/// Between two sessions when the first did not live that long itself, so that a guest that cannot speak does not keep
/// the host busy.
const PAUSE: Duration = Duration::from_millis(200);

/// How long with `--once` a machine is waited for: who asks for one has started it.
const LATE: Duration = Duration::from_secs(10);

/// Why it cannot go on.
#[derive(Debug, thiserror::Error)]
enum RoleError {
    #[error(transparent)]
    Usage(#[from] arguments::UsageError),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Wait(#[from] wait::WaitError),
    #[error("no machine serves {}, for {} seconds now", line.display(), LATE.as_secs())]
    Late { line: PathBuf },
    #[error(transparent)]
    Sockets(#[from] sockets::SocketsError),
}

/// Runs the role with the arguments of this process.
///
/// Returns when a signal asked it to end. Errors go to stderr and the code is 1, or 2 when the arguments are wrong.
#[must_use]
pub fn main() -> ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("VIAL_LOG").unwrap_or_else(|_| "info".into());
    // Fails only when the caller has set one up already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init();
    let arguments = arguments::parse(std::env::args_os().skip(1)).map_err(RoleError::from);
    match arguments.and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", error_chain(&error));
            ExitCode::from(if matches!(error, RoleError::Usage(_)) {
                2
            } else {
                1
            })
        }
    }
}

fn run(arguments: Arguments) -> Result<(), RoleError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(RoleError::Runtime)?;
    let ended = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(RoleError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RoleError::Signals)?;
        tokio::select! {
            ended = serve(&arguments) => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    });
    runtime.shutdown_background();
    ended
}

/// Goes on until something fails that would fail again, or with `--once` the line ends.
async fn serve(arguments: &Arguments) -> Result<(), RoleError> {
    sockets::remove(&arguments.served())?;
    loop {
        let line = wait::connect(&arguments.line);
        let line = match arguments.once {
            true => timeout(LATE, line).await.map_err(|_| RoleError::Late {
                line: arguments.line.clone(),
            })??,
            false => line.await?,
        };
        tracing::info!(line = %arguments.line.display(), "waiting for the guest");
        let mut host = Host::new(line);
        while let Some(error) = converse(&mut host, arguments).await {
            error?;
        }
        tracing::info!("the machine has closed the line");
        if arguments.once {
            return Ok(());
        }
    }
}

/// One session; `None` when the line has ended.
async fn converse(
    host: &mut Host<UnixStream>,
    arguments: &Arguments,
) -> Option<Result<(), RoleError>> {
    let (opener, carried) = host.session().await.ok()?;
    let began = Instant::now();
    let served = tokio::select! {
        () = carried => Ok(()),
        served = serve_guest(opener, arguments) => served,
    };
    tracing::info!("the guest is gone");
    if began.elapsed() < PAUSE {
        tokio::time::sleep(PAUSE).await;
    }
    Some(served)
}

/// Before anybody reaches it, the guest knows what time it is: it may go on from years ago.
async fn wake(opener: &Opener) -> Result<(), OpenError> {
    let wake = Wake::up().map_err(OpenError::Lost)?;
    opener.open(&Target::Wake(wake)).await.map(drop)
}

async fn serve_guest(opener: Opener, arguments: &Arguments) -> Result<(), RoleError> {
    if let Err(error) = wake(&opener).await {
        tracing::warn!("the guest does not wake: {}", error_chain(&error));
    }
    if let Err(error) = opener.open(&Target::Agent).await {
        tracing::warn!("the agent does not answer: {}", error_chain(&error));
        if matches!(error, OpenError::Lost(_)) {
            // The session tells by itself that it is over.
            std::future::pending::<()>().await;
        }
        return Ok(());
    }
    let sockets = Sockets::bind(arguments)?;
    tracing::info!("serving the guest");
    sockets.serve(&opener).await;
    Ok(())
}
