//! A line and the sessions on it, for either end.
//!
//! # Lifecycle
//! ```text
//!            ┌────────────── call (host) / answer (guest) ◄─────────────┐
//!            ▼                                                          │
//!   Session: a byte stream of its own ──► it ends: by its own protocol, by noise, by the other end's next mark
//!            │
//!            └──► the line ends: nothing more can be read or written; its owner opens another one
//! ```
//! A session borrows its line, so that what is read and not understood stays with the line, for the next session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::wire::{self, Head, Mark, Word};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// One byte stream to the other end.
#[derive(Debug)]
pub(crate) struct Line<T> {
    io: T,
    /// Read and not understood yet.
    input: BytesMut,
    /// Understood to be sent, and not written yet.
    output: BytesMut,
    /// How the last session ended; tells the guest whether the host has to be told.
    left: Left,
}

/// Why nobody is in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// The other end does not know of it.
    Silently,
    /// The other end has begun anew, so it knows.
    ByMark,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Line<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io,
            input: BytesMut::with_capacity(READ),
            output: BytesMut::new(),
            left: Left::Silently,
        }
    }

    /// The host's way into a session: calls until the guest answers this very call.
    ///
    /// # Errors
    /// When the line ends.
    pub(crate) async fn call(&mut self) -> io::Result<Session<'_, T>> {
        // What is half written, the lead of the mark completes.
        self.output.clear();
        let mut called = self.put_call()?;
        loop {
            match self.mark().await? {
                Mark::Answer(word) if word == called => return Ok(Session::new(self, word)),
                // It was not there when it was called.
                Mark::Here => called = self.put_call()?,
                Mark::Answer(_) | Mark::Call(_) => {}
            }
        }
    }

    /// The guest's way into a session: answers the next call.
    ///
    /// # Errors
    /// When the line ends.
    pub(crate) async fn answer(&mut self) -> io::Result<Session<'_, T>> {
        self.output.clear();
        if self.left == Left::Silently {
            Mark::Here.put(&mut self.output);
        }
        loop {
            if let Mark::Call(word) = self.mark().await? {
                Mark::Answer(word).put(&mut self.output);
                return Ok(Session::new(self, word));
            }
        }
    }

    fn put_call(&mut self) -> io::Result<Word> {
        let mut random = Word::default();
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let word = wire::word(random);
        Mark::Call(word).put(&mut self.output);
        Ok(word)
    }

    /// The next mark. Writes meanwhile: both ends may have more to say than the line holds.
    async fn mark(&mut self) -> io::Result<Mark> {
        std::future::poll_fn(|cx| {
            loop {
                if let Some(mark) = Mark::take(&mut self.input) {
                    return Poll::Ready(Ok(mark));
                }
                let written = self.poll_drain(cx);
                if let Poll::Ready(Err(error)) = written {
                    return Poll::Ready(Err(error));
                }
                if ready!(self.poll_fill(cx))? == 0 {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        })
        .await
    }

    /// Reads something; 0 is the end of the line.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(READ);
        poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input)
    }

    /// Writes all that there is to write.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

/// A byte stream between the two ends that have agreed on a word.
///
/// To be read and written by one task: only the last one that was told to wait is woken.
#[derive(Debug)]
pub(crate) struct Session<'a, T> {
    line: &'a mut Line<T>,
    word: Word,
    /// What the current chunk still has to give.
    chunk: usize,
}

impl<'a, T> Session<'a, T> {
    fn new(line: &'a mut Line<T>, word: Word) -> Self {
        line.left = Left::Silently;
        let chunk = 0;
        Self { line, word, chunk }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Session<'_, T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { line, word, chunk } = self.get_mut();
        // The mark that opened the session may still be there.
        if let Poll::Ready(Err(error)) = line.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        loop {
            if *chunk == 0 {
                match wire::take_head(word, &mut line.input) {
                    Head::Chunk(length) => *chunk = length,
                    Head::Unknown => {}
                    Head::Mark => {
                        line.left = Left::ByMark;
                        return Poll::Ready(Err(out_of_step("the other end has begun anew")));
                    }
                    Head::Noise => return Poll::Ready(Err(out_of_step("there is noise"))),
                }
            }
            let length = line.input.len().min(*chunk).min(buffer.remaining());
            if length > 0 {
                buffer.put_slice(&line.input[..length]);
                line.input.advance(length);
                *chunk -= length;
                return Poll::Ready(Ok(()));
            }
            if ready!(line.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn out_of_step(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Session<'_, T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(data)])
    }

    /// One chunk of what is given, once the one before is written.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { line, word, .. } = self.get_mut();
        ready!(line.poll_drain(cx))?;
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let length = length.min(wire::MOST);
        if length > 0 {
            wire::put_chunk(word, slices, length, &mut line.output);
        }
        if let Poll::Ready(Err(error)) = line.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().line.poll_drain(cx)
    }

    /// Ends nothing: the line is there for the next session.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn pair(room: usize) -> (Line<DuplexStream>, Line<DuplexStream>) {
        let (host, guest) = duplex(room);
        (Line::new(host), Line::new(guest))
    }

    /// Both enter a session and say something in it.
    async fn speak(host: &mut Line<DuplexStream>, guest: &mut Line<DuplexStream>) {
        let calling = async {
            let mut session = host.call().await.unwrap();
            session.write_all(b"question").await.unwrap();
            session.flush().await.unwrap();
            let mut answer = [0; 6];
            session.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
        };
        // As the real one does, it stays in step when the host calls again because it was announced.
        let answering = async {
            loop {
                let mut session = guest.answer().await.unwrap();
                let mut question = [0; 8];
                if session.read_exact(&mut question).await.is_err() {
                    continue;
                }
                assert_eq!(&question, b"question");
                session.write_all(b"answer").await.unwrap();
                session.flush().await.unwrap();
                return;
            }
        };
        tokio::join!(calling, answering);
    }

    #[tokio::test]
    async fn the_two_ends_find_each_other() {
        let (mut host, mut guest) = pair(READ);
        speak(&mut host, &mut guest).await;
        // And again, when a session is over for both.
        speak(&mut host, &mut guest).await;
    }

    #[tokio::test]
    async fn a_line_that_holds_less_than_a_mark_is_no_deadlock() {
        let (mut host, mut guest) = pair(100);
        speak(&mut host, &mut guest).await;
    }

    #[tokio::test]
    async fn a_guest_that_was_reset_in_the_middle_of_a_chunk_is_found_again() {
        let (mut host, guest) = pair(1 << 20);
        let mut io = guest.io;
        let (read, ()) = tokio::join!(
            async {
                let mut session = host.call().await.unwrap();
                let mut read = Vec::new();
                session.read_to_end(&mut read).await.unwrap_err()
            },
            async {
                let mut heard = BytesMut::new();
                let word = loop {
                    io.read_buf(&mut heard).await.unwrap();
                    if let Some(Mark::Call(word)) = Mark::take(&mut heard) {
                        break word;
                    }
                };
                let mut said = BytesMut::new();
                Mark::Answer(word).put(&mut said);
                wire::put_chunk(&word, &[io::IoSlice::new(&[1; 90])], 90, &mut said);
                io.write_all(&said[..said.len() - 50]).await.unwrap();
                // The next one announces itself.
                Mark::Here.put(&mut heard);
                io.write_all(&heard).await.unwrap();
            }
        );
        assert_eq!(read.kind(), io::ErrorKind::InvalidData);
        speak(&mut host, &mut Line::new(io)).await;
    }

    #[tokio::test]
    async fn noise_ends_a_session_and_not_the_line() {
        let (mut host, mut guest) = pair(1 << 20);
        speak(&mut host, &mut guest).await;
        guest
            .io
            .write_all(b"kernel panic - not syncing")
            .await
            .unwrap();
        host.io.write_all(&[0x41; 100_000]).await.unwrap();
        speak(&mut host, &mut guest).await;
    }

    #[tokio::test]
    async fn the_end_of_the_line_is_told() {
        let (mut host, guest) = pair(READ);
        drop(guest);
        assert!(host.call().await.is_err());
    }
}
