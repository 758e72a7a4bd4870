//! The agent's own life: arguments, socket, signals, end.
//!
//! # Order
//! umask and descriptors → socket bound (nobody is answered before it is there) → supervisor and server → one byte to
//! the ready descriptor → signals → components stopped → commands ended → socket removed.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use rustix::fs::Mode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server as Transport;
use vial_rpc::agent_server::AgentServer;
use vial_sys::error_chain;

use crate::reaper::Reaper;
use crate::server::Server;
use crate::supervisor::Supervisor;
use crate::{exec, logs};

/// The largest message: files of a node are written in one.
const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;
/// HTTP/2 windows: how much of a stream may be on its way; the default of 64 KiB would halt bulk data at every chunk.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const USAGE: &str = "usage: vial-agent --socket PATH [--ready-fd NUMBER]";

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RunError(#[from] Trouble);

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Usage(String),
    #[error("cannot use --ready-fd {number}")]
    ReadyFd { number: i32, source: io::Error },
    #[error("cannot mark inherited descriptors")]
    Inherited { source: io::Error },
    #[error("another agent serves {}", path.display())]
    Taken { path: PathBuf },
    #[error("cannot listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot start the runtime")]
    Runtime { source: io::Error },
    #[error("cannot handle signals")]
    Signals { source: io::Error },
    #[error("{what}")]
    Fallen { what: String },
    #[error("cannot serve {}", path.display())]
    Serve {
        path: PathBuf,
        source: tonic::transport::Error,
    },
}

/// What asked the agent to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
}

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    socket: PathBuf,
    ready_fd: Option<i32>,
}

fn log() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("VIAL_LOG").unwrap_or_else(|_| "info".into());
    // Fails only when the caller has set one up already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .try_init();
}

pub(crate) fn main() -> ExitCode {
    log();
    match parse(std::env::args_os().skip(1)).and_then(|typed| run(typed, std::future::ready(()))) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", error_chain(&error));
            ExitCode::from(if matches!(error, Trouble::Usage(_)) {
                2
            } else {
                1
            })
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Arguments, Trouble> {
    let (mut socket, mut ready_fd) = (None, None);
    let usage = |why: &str| Trouble::Usage(format!("{why}; {USAGE}"));
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| usage(&format!("{} needs a value", name.display())))
        };
        match name.to_str() {
            Some("--socket") => socket = Some(PathBuf::from(value()?)),
            Some("--ready-fd") => {
                let number = value()?.to_str().and_then(|number| number.parse().ok());
                ready_fd = Some(number.ok_or_else(|| usage("--ready-fd is no number"))?);
            }
            _ => return Err(usage(&format!("unknown argument {}", name.display()))),
        }
    }
    Ok(Arguments {
        socket: socket.ok_or_else(|| usage("--socket is missing"))?,
        ready_fd,
    })
}

/// The agent as a part of another program; `beside` runs on its runtime, and is dropped when it ends.
pub(crate) fn at(
    socket: &Path,
    beside: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended, RunError> {
    log();
    let arguments = Arguments {
        socket: socket.to_path_buf(),
        ready_fd: None,
    };
    Ok(run(arguments, beside)?)
}

fn run(
    arguments: Arguments,
    beside: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended, Trouble> {
    let ready = match arguments.ready_fd {
        Some(number) => {
            let taken = vial_sys::session::take_inherited(number);
            Some(taken.map_err(|source| Trouble::ReadyFd { number, source })?)
        }
        None => None,
    };
    vial_sys::session::close_inherited_on_exec().map_err(|source| Trouble::Inherited { source })?;
    let listener = listen(&arguments.socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| Trouble::Runtime { source })?;
    let ended = runtime.block_on(async {
        tokio::spawn(beside);
        serve(listener, ready, &arguments.socket).await
    });
    // Does not wait for what blocks; as PID 1 that ends with this process.
    runtime.shutdown_background();
    // Somebody may have removed it.
    let _ = fs::remove_file(&arguments.socket);
    ended
}

/// Binds the socket for its owner only. Runs while the process has one thread: umask(2) is of the whole process.
///
/// The socket is bound by its final name, not renamed to it: CRIU finds a socket's file by the name it was bound to.
fn listen(path: &Path) -> Result<UnixListener, Trouble> {
    let listen_error = |source| Trouble::Listen {
        path: path.to_path_buf(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(listen_error)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        if UnixStream::connect(path).is_ok() {
            return Err(Trouble::Taken {
                path: path.to_path_buf(),
            });
        }
        fs::remove_file(path).map_err(listen_error)?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    // Components and commands start with what every login shell has.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let listener = bound.map_err(listen_error)?;
    listener.set_nonblocking(true).map_err(listen_error)?;
    Ok(listener)
}

async fn serve(
    listener: UnixListener,
    ready: Option<OwnedFd>,
    path: &Path,
) -> Result<Ended, Trouble> {
    let signals_error = |source| Trouble::Signals { source };
    let mut terminate = signal(SignalKind::terminate()).map_err(signals_error)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals_error)?;
    for ignored in [
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ] {
        // A handler, unlike SIG_IGN, is not inherited by what the agent executes (execve(2)).
        drop(signal(ignored).map_err(signals_error)?);
    }
    let listener = tokio::net::UnixListener::from_std(listener);
    let listener = listener.map_err(|source| Trouble::Listen {
        path: path.to_path_buf(),
        source,
    })?;

    let reaper = Arc::new(Reaper::default());
    let reaping = tokio::spawn(reaper.clone().run());
    let supervisor = Supervisor::start(reaper.clone());
    tokio::spawn(logs::rotate(supervisor.clone()));
    let service = AgentServer::new(Server::new(supervisor.clone(), reaper.clone()))
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE);
    let server = Transport::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_with_incoming(service, UnixListenerStream::new(listener));
    let mut server = std::pin::pin!(server);
    if let Some(ready) = ready {
        // Whoever started the agent may have stopped caring.
        let _ = std::fs::File::from(ready).write_all(b"1");
    }
    tracing::info!(socket = %path.display(), "serving");
    let end = tokio::select! {
        served = &mut server => return served
            .map(|()| Ended::Terminated)
            .map_err(|source| Trouble::Serve { path: path.to_path_buf(), source }),
        reaped = reaping => match reaped {
            Ok(Err(source)) => return Err(Trouble::Signals { source }),
            _ => {
                tracing::error!("nobody reaps any more");
                Ok(Ended::Terminated)
            }
        },
        Ok(what) = supervisor.fallen() => {
            tracing::error!("{what}, and all that is here with it");
            Err(Trouble::Fallen { what })
        }
        _ = terminate.recv() => Ok(Ended::Terminated),
        _ = interrupt.recv() => Ok(Ended::Interrupted),
    };
    if let Ok(ended) = &end {
        tracing::info!(?ended, "asked to end");
    }
    // The server answers meanwhile, so that watchers see the end; its streams never end by themselves.
    tokio::select! {
        _ = supervisor.shut_down() => {}
        _ = &mut server => {}
    }
    exec::kill_all(&reaper);
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Arguments, Trouble> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn arguments_in_any_order() {
        let expected = Arguments {
            socket: "/run/agent.sock".into(),
            ready_fd: Some(5),
        };
        assert_eq!(
            parse_words(&["--ready-fd", "5", "--socket", "/run/agent.sock"]).unwrap(),
            expected
        );
    }

    #[test]
    fn wrong_arguments_tell_the_right_ones() {
        for words in [
            &[][..],
            &["--socket"],
            &["--socket", "/x", "--ready-fd", "x"],
            &["--sockt", "/x"],
        ] {
            let error = parse_words(words).unwrap_err().to_string();
            assert!(error.contains("usage: vial-agent --socket PATH"), "{error}");
        }
    }
}
