//! The host's end: enters sessions and opens streams in them.

use std::future::Future;
use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::line::Line;
use crate::session;
use crate::stream::{Stream, failed};
use crate::target::{Answer, Target, TargetError};

/// A line, seen from the host.
#[derive(Debug)]
pub struct Host<T> {
    line: Line<T>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Host<T> {
    /// `io` leads to the guest's port.
    pub fn new(io: T) -> Self {
        Self {
            line: Line::new(io),
        }
    }

    /// Waits until the guest's end answers, and begins a session with it: what opens streams, and what carries them
    /// while it is polled. The latter resolves when the session is over, whatever the reason; then this may be called again.
    ///
    /// # Errors
    /// When the line has ended.
    pub async fn session(&mut self) -> io::Result<(Opener, impl Future<Output = ()>)> {
        let session = self.line.call().await?;
        let handshake = session::client().handshake(session).await;
        let (requests, connection) = handshake.map_err(failed)?;
        let carried = async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the session is over");
            }
        };
        Ok((Opener { requests }, carried))
    }
}

/// Opens streams of one session. Cheap to clone; useless when the session is over.
#[derive(Debug, Clone)]
pub struct Opener {
    requests: SendRequest<Bytes>,
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The target cannot be written as a line.
    #[error("cannot ask for this target")]
    Target(#[from] TargetError),
    /// The guest cannot reach it.
    #[error("the guest cannot reach {target}: {text}")]
    Refused {
        /// What was asked for.
        target: Target,
        /// The guest's words.
        text: String,
    },
    /// The session, or the service at the socket, is gone.
    #[error("cannot reach the guest")]
    Lost(#[source] io::Error),
}

impl Opener {
    /// Opens a stream to `target`; returns when the guest has connected it.
    ///
    /// # Errors
    /// When the guest cannot, or the session is over.
    pub async fn open(&self, target: &Target) -> Result<Stream, OpenError> {
        let line = target.line()?;
        let mut stream = self.stream().await.map_err(OpenError::Lost)?;
        let answer = async {
            stream.write_all(line.as_bytes()).await?;
            stream.line().await
        };
        let answer = answer.await.map_err(OpenError::Lost)?;
        check(target, &answer)?;
        Ok(stream)
    }

    /// Opens a stream whose user writes the first line and reads the answer.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn stream(&self) -> io::Result<Stream> {
        let mut requests = self.requests.clone().ready().await.map_err(failed)?;
        let request = http::Request::post("http://guest.invalid/").body(());
        let request = request.map_err(io::Error::other)?;
        let (response, send) = requests.send_request(request, false).map_err(failed)?;
        Ok(Stream::opening(send, response))
    }
}

/// Whether the guest has connected the stream.
pub(crate) fn check(target: &Target, answer: &str) -> Result<(), OpenError> {
    match Answer::parse(answer) {
        Some(Answer::Ok) => Ok(()),
        Some(Answer::Error(text)) => Err(OpenError::Refused {
            target: target.clone(),
            text,
        }),
        None => Err(OpenError::Lost(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{answer:?} is no answer"),
        ))),
    }
}
