//! Pipes and terminals that are read and written without blocking.
//!
//! Tokio's pipe types take any descriptor that epoll(7) knows, so they serve terminals too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::{Bytes, BytesMut};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::net::unix::pipe;

/// How much is read at once: a few packets, so that the wakeups are shared.
const CHUNK: usize = 128 * 1024;

/// The reading end of a pipe, or the controlling side of a terminal.
#[derive(Debug)]
pub(crate) struct Reader {
    pipe: pipe::Receiver,
    buffer: BytesMut,
}

impl Reader {
    /// Makes `fd` non-blocking; the other end of a pipe or terminal is not affected.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&fd)?;
        Ok(Self {
            pipe: pipe::Receiver::from_owned_fd_unchecked(fd)?,
            buffer: BytesMut::new(),
        })
    }

    /// Reads what there is, `None` at the end.
    pub(crate) async fn read(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            self.pipe.readable().await?;
            if let Some(read) = self.read_now()? {
                return Ok((!read.is_empty()).then_some(read));
            }
        }
    }

    /// Reads what there is already: `None` when that is nothing, empty at the end.
    pub(crate) fn read_now(&mut self) -> io::Result<Option<Bytes>> {
        // Given back while nothing is read: an idle session holds no buffer.
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.reserve(CHUNK);
        let result = self.pipe.try_read_buf(&mut buffer);
        match result {
            Ok(_) => {
                let read = buffer.split().freeze();
                self.buffer = buffer;
                Ok(Some(read))
            }
            Err(error) if is_temporary(&error) => Ok(None),
            // The controlling side says so when nobody has the terminal open any more.
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                Ok(Some(Bytes::new()))
            }
            Err(error) => Err(error),
        }
    }
}

/// The writing end of a pipe, or the controlling side of a terminal.
#[derive(Debug)]
pub(crate) struct Writer(pipe::Sender);

impl Writer {
    /// Makes `fd` non-blocking; the other end of a pipe or terminal is not affected.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&fd)?;
        pipe::Sender::from_owned_fd_unchecked(fd).map(Self)
    }

    /// Writes all of `data`, waiting for the reader as long as it takes.
    pub(crate) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            self.0.writable().await?;
            match self.0.try_write(data) {
                Ok(written) => data = &data[written..],
                Err(error) if is_temporary(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
