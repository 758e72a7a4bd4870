//! The guest's end: answers calls, and connects each stream to what its first line names.
//!
//! ```text
//!  Ports::open ──► a line ──► session ──► stream ──► its first line ─┬ agent  ──► the agent's socket ┐
//!      ▲            │  ▲         │                                   ├ unix   ──► a socket           ├ connect, ok,
//!      │ ended ─────┘  └─ over ──┘                                   ├ tcp …  ──► an address         ┘ bytes both ways
//!                                                                    └ listen ──► what comes to an address: listen.rs
//! ```
//!
//! Nothing that comes over the line ends it: noise and broken sessions are left, and the next call is waited for.
//! Streams of a session that is over fail for both their sides.

use std::future::Future;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::datagram;
use crate::line::{Line, Session};
use crate::listen::Waiting;
use crate::networks::Networks;
use crate::stream::{Stream, failed};
use crate::target::{Answer, Place, Target, TargetError};
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
pub async fn serve(mut ports: impl Ports, agent: impl Into<PathBuf>, networks: impl Networks) {
    let guest = Guest {
        agent: agent.into(),
        networks,
        waiting: Waiting::default(),
    };
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
                Ok(session) => converse(session, &guest).await,
                Err(error) => break error,
            }
        };
        tracing::debug!(error = %ended, "the host has left the line");
    }
}

/// What streams lead to.
#[derive(Clone)]
struct Guest<N> {
    agent: PathBuf,
    networks: N,
    waiting: Waiting,
}

/// Takes streams up until the session is over.
async fn converse<T>(session: Session<'_, T>, guest: &Guest<impl Networks>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let over = async {
        let mut connection = session::server().handshake(session).await?;
        tracing::info!("a host is there");
        while let Some(next) = connection.accept().await {
            let (request, respond) = next?;
            tokio::spawn(take_up(request, respond, guest.clone()));
        }
        Ok::<(), h2::Error>(())
    };
    match over.await {
        Ok(()) => tracing::debug!("the session is over"),
        Err(error) => tracing::debug!(%error, "the session is over"),
    }
}

async fn take_up(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    guest: Guest<impl Networks>,
) {
    let served = async {
        let send = respond
            .send_response(Response::new(()), false)
            .map_err(failed)?;
        serve_stream(Stream::open(send, request.into_body()), guest).await
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "a stream has ended");
    }
}

async fn serve_stream(mut stream: Stream, guest: Guest<impl Networks>) -> io::Result<()> {
    let target = match stream.line().await?.parse::<Target>() {
        Err::<_, TargetError>(error) => return refuse(stream, &error.to_string()).await,
        Ok(target) => target,
    };
    let networks = &guest.networks;
    match target {
        Target::Agent => connect(stream, UnixStream::connect(guest.agent)).await,
        Target::Unix(path) => connect(stream, UnixStream::connect(path)).await,
        Target::Tcp(address) => connect(stream, networks.dial(&Place::Own, address)).await,
        Target::Dial(place, address) => connect(stream, networks.dial(&place, address)).await,
        Target::Accept(id) => connect(stream, async { guest.waiting.take(id) }).await,
        Target::Listen(place, address) => match networks.listen(&place, address).await {
            Ok(listener) => guest.waiting.tell(said(stream).await?, listener).await,
            Err(error) => refuse(stream, &error.to_string()).await,
        },
        Target::Udp(place, address) => match networks.bind_udp(&place, address).await {
            Ok(socket) => datagram::pass(said(stream).await?, socket).await,
            Err(error) => refuse(stream, &error.to_string()).await,
        },
        Target::Wake(wake) => match networks.wake(&wake) {
            Ok(()) => said(stream).await?.shutdown().await,
            Err(error) => refuse(stream, &error.to_string()).await,
        },
    }
}

/// Says that the stream is the target's now.
async fn said(mut stream: Stream) -> io::Result<Stream> {
    stream.write_all(Answer::Ok.line().as_bytes()).await?;
    Ok(stream)
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
        Ok(socket) => relay::relay(said(stream).await?, socket).await,
        Err(error) => refuse(stream, &error.to_string()).await,
    }
}

async fn refuse(mut stream: Stream, why: &str) -> io::Result<()> {
    let line = Answer::Error(why.to_owned()).line();
    stream.write_all(line.as_bytes()).await?;
    stream.shutdown().await
}
