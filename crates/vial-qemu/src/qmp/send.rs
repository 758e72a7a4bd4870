//! A command on its way to QEMU, with a descriptor or without.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;

/// Sends all of a line; a descriptor goes with its first byte, which is when QEMU looks for it.
pub(super) async fn line(
    write: &mut OwnedWriteHalf,
    line: &[u8],
    descriptor: Option<OwnedFd>,
) -> io::Result<()> {
    let sent = match descriptor {
        Some(descriptor) => with_descriptor(write.as_ref(), line, &descriptor).await?,
        None => 0,
    };
    write.write_all(&line[sent..]).await
}

/// How much of it was sent, which is something.
async fn with_descriptor(
    socket: &UnixStream,
    line: &[u8],
    descriptor: &OwnedFd,
) -> io::Result<usize> {
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [descriptor.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let parts = [IoSlice::new(line)];
        Ok(sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?)
    };
    socket.async_io(Interest::WRITABLE, send).await
}
