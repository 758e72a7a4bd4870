//! Pipes and terminals that are read and written without blocking.
//!
//! Tokio's pipe types take any descriptor that epoll(7) knows, so they serve terminals too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::net::unix::pipe;

/// The reading end of a pipe, or the controlling side of a terminal.
pub(super) struct Reader(pipe::Receiver);

impl Reader {
    /// Makes `fd` non-blocking; the other end of a pipe or terminal is not affected.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&fd)?;
        pipe::Receiver::from_owned_fd_unchecked(fd).map(Self)
    }

    /// Reads what there is; 0 is the end.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.0.readable().await?;
            match self.0.try_read(buffer) {
                Err(error) if is_temporary(&error) => {}
                // The controlling side says so when nobody has the terminal open any more.
                Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Ok(0);
                }
                result => return result,
            }
        }
    }

    /// Bytes that could be read now.
    pub(super) fn pending(&self) -> u64 {
        // Only a wish for completeness: where the kernel cannot tell, the wait for silence decides.
        rustix::io::ioctl_fionread(&self.0).unwrap_or(0)
    }
}

/// The writing end of a pipe, or the controlling side of a terminal.
pub(super) struct Writer(pipe::Sender);

impl Writer {
    /// Makes `fd` non-blocking; the other end of a pipe or terminal is not affected.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        set_nonblocking(&fd)?;
        pipe::Sender::from_owned_fd_unchecked(fd).map(Self)
    }

    /// Writes all of `data`, waiting for the reader as long as it takes.
    pub(super) async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
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
