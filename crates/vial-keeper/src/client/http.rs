//! One HTTP request over a unix socket: its answer as a whole, line by line, or as a stream of bytes both ways.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt};
use http_body_util::{BodyExt as _, BodyStream, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncBufReadExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_stream::wrappers::LinesStream;
use tokio_util::io::StreamReader;

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The connection.
    Io(io::Error),
    /// The keeper said no: status and words.
    Status(u16, String),
    /// Somebody listens and does not answer.
    Silent,
}

/// How long a keeper may be silent: it answers within two seconds, or tells every second that it is at work; the rest is
/// for a machine that is very busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(6);

/// The body of a good answer.
pub(super) struct Body(Incoming);

/// The pid of the process that listens on the socket (unix(7), `SO_PEERCRED`).
pub(super) async fn peer(socket: &Path) -> io::Result<u32> {
    let connected = timeout(PATIENCE, UnixStream::connect(socket)).await?;
    let pid = connected?.peer_cred()?.pid();
    pid.and_then(|pid| u32::try_from(pid).ok())
        .ok_or_else(|| io::ErrorKind::NotConnected.into())
}

pub(super) async fn get(socket: &Path, path: &str) -> Result<Body, Failed> {
    answer(send(socket, "GET", path, Vec::new())).await
}

pub(super) async fn post(socket: &Path, path: &str, body: Vec<u8>) -> Result<Body, Failed> {
    answer(send(socket, "POST", path, body)).await
}

async fn answer<T>(asked: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    timeout(PATIENCE, asked)
        .await
        .unwrap_or(Err(Failed::Silent))
}

/// An open connection through the keeper.
#[derive(Debug)]
pub struct Tunnel {
    /// Bytes that came already; they are before what the stream has.
    pub first: Bytes,
    /// The rest, non-blocking.
    pub stream: std::os::unix::net::UnixStream,
}

/// Asks for a stream of bytes, and becomes one (RFC 9110, 7.8).
pub(super) async fn upgrade(socket: &Path, path: &str, protocol: &str) -> Result<Tunnel, Failed> {
    let stream = UnixStream::connect(socket).await.map_err(Failed::Io)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| io_error(&error))?;
    tokio::spawn(connection.with_upgrades());
    let request = hyper::Request::builder()
        .uri(path)
        .header("host", "vial.invalid")
        .header("connection", "upgrade")
        .header("upgrade", protocol)
        .body(Full::new(Bytes::new()))
        .map_err(|error| Failed::Io(io::Error::other(error)))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| io_error(&error))?;
    if response.status() != hyper::StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(response).await);
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| io_error(&error))?;
    let parts = upgraded
        .downcast::<TokioIo<UnixStream>>()
        .map_err(|_| Failed::Io(io::Error::other("the connection is of another kind")))?;
    Ok(Tunnel {
        first: parts.read_buf,
        stream: parts.io.into_inner().into_std().map_err(Failed::Io)?,
    })
}

pub(super) async fn send(
    socket: &Path,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<Body, Failed> {
    let stream = UnixStream::connect(socket).await.map_err(Failed::Io)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| io_error(&error))?;
    // It ends with the answer's body; its errors reach us through the body.
    tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "vial.invalid")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failed::Io(io::Error::other(error)))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| io_error(&error))?;
    if response.status().is_success() {
        return Ok(Body(response.into_body()));
    }
    Err(refused(response).await)
}

async fn refused(response: hyper::Response<Incoming>) -> Failed {
    let status = response.status().as_u16();
    match Body(response.into_body()).whole().await {
        Ok(message) => Failed::Status(status, String::from_utf8_lossy(&message).into_owned()),
        Err(error) => error,
    }
}

fn io_error(error: &hyper::Error) -> Failed {
    Failed::Io(io::Error::other(crate::failure::chain(error)))
}

impl Body {
    /// All of it.
    pub(super) async fn whole(self) -> Result<Bytes, Failed> {
        answer(async {
            let collected = self.0.collect().await;
            Ok(collected.map_err(|error| io_error(&error))?.to_bytes())
        })
        .await
    }

    /// Line by line, as they come; the empty ones, which only say that the keeper lives, are left out.
    pub(super) fn lines(self) -> impl Stream<Item = Result<String, Failed>> + use<> {
        let frames = TryStreamExt::map_err(BodyStream::new(self.0), io::Error::other);
        let bytes = frames
            .filter_map(|frame| async { frame.map(|frame| frame.into_data().ok()).transpose() });
        let reader = StreamReader::new(Box::pin(bytes));
        let lines = LinesStream::new(reader.lines());
        let lines = tokio_stream::StreamExt::timeout(lines, PATIENCE);
        let told =
            lines.map(|line| line.map_or(Err(Failed::Silent), |line| line.map_err(Failed::Io)));
        told.filter(|line| std::future::ready(!matches!(line, Ok(line) if line.is_empty())))
    }
}
