//! Sockets carried through the connection.
//!
//! ```text
//!  -L, -D, -J, -W   client opens a channel ──► direct: connects here (TCP or a unix socket) ──┐
//!  -R               client asks to listen  ──► remote: listens here, a channel each           ├─► relay
//!  agent            a session wants it     ──► agent: a unix socket for it, a channel each ───┘
//! ```
//! A relay ends with its channel, a listener with its connection (or session), and leaves no file.

pub(crate) mod agent;
pub(crate) mod direct;
pub(crate) mod remote;
pub(crate) mod resolve;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use russh::ChannelWriteHalf;
use russh::server::Msg;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinHandle;

use crate::inbound::{Channels, Closed, Inbound, Input};

/// How much is read from a socket at once.
const CHUNK: usize = 64 * 1024;
/// How long a socket may take to take what was sent to it, when its client is gone.
const REST: Duration = Duration::from_secs(30);

/// A task that ends when it is not wanted any more.
#[derive(Debug)]
pub(crate) struct Ending(JoinHandle<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task that ends with its owner.
fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Ending {
    Ending(tokio::spawn(task))
}

/// Carries bytes both ways until both ends have ended, each way at the pace of its taker. What was sent before the
/// channel was closed still arrives.
async fn relay<S>(stream: S, client_side: (Inbound, Closed), write: ChannelWriteHalf<Msg>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (inbound, mut closed) = client_side;
    let (from, to) = tokio::io::split(stream);
    let mut sending = tokio::spawn(there(inbound, to));
    let both = async {
        back(from, &write).await;
        // Its error would be a panic of its own.
        let _ = (&mut sending).await;
    };
    tokio::select! {
        () = both => {
            // Fails when the client is gone.
            let _ = write.close().await;
        }
        () = closed.wait() => {
            if tokio::time::timeout(REST, &mut sending).await.is_err() {
                sending.abort();
            }
        }
    }
}

/// From the client to the socket.
async fn there(mut inbound: Inbound, mut to: impl AsyncWrite + Unpin) {
    while let Some(input) = inbound.take().await {
        let done = match input {
            Input::Data(data) => to.write_all(&data).await,
            Input::End => break,
        };
        if done.is_err() {
            return;
        }
    }
    // Fails when the other side is gone already.
    let _ = to.shutdown().await;
}

/// From the socket to the client.
async fn back(mut from: impl AsyncRead + Unpin, write: &ChannelWriteHalf<Msg>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match from.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                if write.data_bytes(buffer.split()).await.is_err() {
                    return;
                }
            }
        }
    }
    let _ = write.eof().await;
}

/// Serves a channel that this side opened, until it ends.
async fn serve<S>(stream: S, channels: Arc<Channels>, channel: russh::Channel<Msg>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let id = channel.id();
    // The queue takes what arrives; the half that would take it too must not hold the connection up.
    let (read, write) = channel.split();
    drop(read);
    if let Some(client_side) = channels.adopt(id) {
        relay(stream, client_side, write).await;
    }
}
