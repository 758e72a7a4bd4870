//! One of the many streams of a session: bytes both ways, each way with an end of its own.
//!
//! Underneath is a stream of HTTP/2 (RFC 9113) whose bodies are the bytes: what a reader does not take holds back its
//! own stream's writer and nobody else.
//!
//! # End
//! A shut down writer is the end of the other side's reading. A stream that is dropped before both ways have ended is
//! reset: the other side's reads and writes fail.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::target::LONGEST;

/// The most that is queued by one write.
const WRITE: usize = 64 * 1024;

/// A connection that the line carries.
#[derive(Debug)]
pub struct Stream {
    send: SendStream<Bytes>,
    receive: Receive,
    /// Received and not read yet.
    pending: Bytes,
}

#[derive(Debug)]
enum Receive {
    /// The guest has not taken it up yet.
    Opening(ResponseFuture),
    Open(RecvStream),
}

impl Stream {
    /// The host's side.
    pub(crate) fn opening(send: SendStream<Bytes>, response: ResponseFuture) -> Self {
        Self::new(send, Receive::Opening(response))
    }

    /// The guest's side.
    pub(crate) fn open(send: SendStream<Bytes>, body: RecvStream) -> Self {
        Self::new(send, Receive::Open(body))
    }

    fn new(send: SendStream<Bytes>, receive: Receive) -> Self {
        let pending = Bytes::new();
        Self {
            send,
            receive,
            pending,
        }
    }

    /// Resolves when the other side has given the stream up, or the session is over.
    pub(crate) async fn given_up(&mut self) {
        let _ = std::future::poll_fn(|cx| self.send.poll_reset(cx)).await;
    }

    /// Reads a line without its end, and nothing of what follows it.
    ///
    /// # Errors
    /// When it is longer than [`LONGEST`], no UTF-8, or the stream ends before.
    pub(crate) async fn line(&mut self) -> io::Result<String> {
        read_line(self).await
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut RecvStream>> {
        if let Receive::Opening(response) = &mut self.receive {
            let response = ready!(Pin::new(response).poll(cx)).map_err(failed)?;
            self.receive = Receive::Open(response.into_body());
        }
        match &mut self.receive {
            Receive::Open(body) => Poll::Ready(Ok(body)),
            Receive::Opening(_) => Poll::Pending,
        }
    }
}

/// See [`Stream::line`].
pub(crate) async fn read_line(from: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match from.read_u8().await? {
            b'\n' => break,
            byte => line.push(byte),
        }
        if line.len() == LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no line of at most {LONGEST} bytes"),
            ));
        }
    }
    String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// What an error of HTTP/2 is for who uses a stream as a connection.
pub(crate) fn failed(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    let kind = match error.reason() {
        Some(Reason::CANCEL | Reason::NO_ERROR) => io::ErrorKind::ConnectionReset,
        Some(Reason::REFUSED_STREAM) => io::ErrorKind::ConnectionRefused,
        _ => io::ErrorKind::BrokenPipe,
    };
    io::Error::new(kind, error)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while stream.pending.is_empty() {
            let body = ready!(stream.poll_body(cx))?;
            match ready!(body.poll_data(cx)) {
                Some(Ok(data)) => stream.pending = data,
                // Both ways had ended for the other side, which then reset what was left of ours.
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = stream.pending.len().min(buffer.remaining());
        buffer.put_slice(&stream.pending[..length]);
        stream.pending.advance(length);
        // Only now may the other side send as much again.
        let released = match &mut stream.receive {
            Receive::Open(body) => body.flow_control().release_capacity(length),
            Receive::Opening(_) => Ok(()),
        };
        // It fails when the session is over; what came before that is still good.
        let _ = released;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        stream.send.reserve_capacity(data.len().min(WRITE));
        let capacity = loop {
            match stream.send.capacity() {
                0 => {}
                capacity => break capacity,
            }
            match ready!(stream.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(failed(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        };
        let length = capacity.min(data.len());
        let data = Bytes::copy_from_slice(&data[..length]);
        stream.send.send_data(data, false).map_err(failed)?;
        Poll::Ready(Ok(length))
    }

    /// What is queued is written by the session's own task.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.get_mut().send.send_data(Bytes::new(), true);
        Poll::Ready(sent.map_err(failed))
    }
}
