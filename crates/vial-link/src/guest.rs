//! The guest's end: answers calls, and connects each stream to what its first line names.
//!
//! ```text
//!  Ports::open ──► a line ──► session ──► stream ──► its first line ─┬ agent  ──► the agent's socket ┐
//!      ▲            │  ▲         │                                   ├ unix   ──► a socket           ├ connect, ok,
//!      │ ended ─────┘  └─ over ──┘                                   └ tcp    ──► an address         ┘ bytes both ways
//! ```
//!
//! Nothing that comes over the line ends it: noise and broken sessions are left, and the next call is waited for.
//! Streams of a session that is over fail for both their sides.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::line::{Line, Session};
use crate::stream::{Stream, failed};
use crate::target::{Answer, Target, TargetError};
use crate::{relay, session};

/// Where the guest's lines come from, one after the other.
pub trait Ports: Send + 'static {
    /// One line to the host.
    type Line: AsyncRead + AsyncWrite + Unpin + Send;
    /// Opens the next one, after the last has ended. What it returns may be silent until a host comes.
    fn open(&mut self) -> impl Future<Output = io::Result<Self::Line>> + Send;
}

/// Serves the guest's end, in whose guest the agent listens at the unix socket `agent`.
///
/// Goes on for ever; it ends only when a port cannot be opened, which is logged.
pub async fn serve(mut ports: impl Ports, agent: impl Into<PathBuf>) {
    let agent = agent.into();
    loop {
        let mut line = match ports.open().await {
            Ok(port) => Line::new(port),
            Err(error) => {
                tracing::error!("cannot serve the host: {}", vial_sys::error_chain(&error));
                return;
            }
        };
        let ended = loop {
            match line.answer().await {
                Ok(session) => converse(session, &agent).await,
                Err(error) => break error,
            }
        };
        tracing::debug!(error = %ended, "the host has left the line");
    }
}

/// Takes streams up until the session is over.
async fn converse<T>(session: Session<'_, T>, agent: &Path)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let over = async {
        let mut connection = session::server().handshake(session).await?;
        tracing::info!("a host is there");
        while let Some(next) = connection.accept().await {
            let (request, respond) = next?;
            tokio::spawn(take_up(request, respond, agent.to_path_buf()));
        }
        Ok::<(), h2::Error>(())
    };
    match over.await {
        Ok(()) => tracing::debug!("the session is over"),
        Err(error) => tracing::debug!(%error, "the session is over"),
    }
}

async fn take_up(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, agent: PathBuf) {
    let served = async {
        let send = respond
            .send_response(Response::new(()), false)
            .map_err(failed)?;
        serve_stream(Stream::open(send, request.into_body()), agent).await
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "a stream has ended");
    }
}

async fn serve_stream(mut stream: Stream, agent: PathBuf) -> io::Result<()> {
    match stream.line().await?.parse() {
        Err::<_, TargetError>(error) => refuse(stream, &error.to_string()).await,
        Ok(Target::Agent) => connect(stream, UnixStream::connect(agent)).await,
        Ok(Target::Unix(path)) => connect(stream, UnixStream::connect(path)).await,
        Ok(Target::Tcp(address)) => {
            let connecting = async {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Ok(socket)
            };
            connect(stream, connecting).await
        }
    }
}

async fn connect<S>(
    mut stream: Stream,
    connecting: impl Future<Output = io::Result<S>>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // The kernel may take minutes; whoever asked may not.
    let connected = tokio::select! {
        connected = connecting => connected,
        () = stream.given_up() => return Ok(()),
    };
    match connected {
        Ok(socket) => {
            stream.write_all(Answer::Ok.line().as_bytes()).await?;
            relay::relay(stream, socket).await
        }
        Err(error) => refuse(stream, &error.to_string()).await,
    }
}

async fn refuse(mut stream: Stream, why: &str) -> io::Result<()> {
    let line = Answer::Error(why.to_owned()).line();
    stream.write_all(line.as_bytes()).await?;
    stream.shutdown().await
}
