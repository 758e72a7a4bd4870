//! Bytes both ways between a stream and a socket.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

use crate::stream::Stream;

/// What is moved at once. Small, as there may be hundreds.
const BUFFER: usize = 16 * 1024;

/// Passes bytes until both ways are ended; each end is passed on by itself. When one side is cut, so is the other.
pub(crate) async fn relay(
    mut stream: Stream,
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    copy_bidirectional_with_sizes(&mut stream, &mut socket, BUFFER, BUFFER)
        .await
        .map(drop)
}
