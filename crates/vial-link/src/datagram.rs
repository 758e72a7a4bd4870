//! Datagrams of a socket inside the guest, over a stream.
//!
//! ```text
//! frame   length of the address, 1 byte │ length of the datagram, 2 bytes, the highest first │ ADDRESS:PORT │ datagram
//! ```
//! The address is the sender's towards the host, and the receiver's towards the guest.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UdpSocket, UnixStream};
use tokio::sync::mpsc;

use crate::dial::dial;
use crate::host::OpenError;
use crate::listen::PAUSE;
use crate::target::{Place, Target};

/// The largest datagram: UDP's length has 16 bits (RFC 768).
const LARGEST: usize = 65_535;
/// How many may be under way; what comes beyond that is lost, as datagrams are.
const QUEUE: usize = 64;

type Datagram = (Vec<u8>, SocketAddr);

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Datagram> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut address = vec![0; from.read_u8().await?.into()];
    let mut datagram = vec![0; from.read_u16().await?.into()];
    from.read_exact(&mut address).await?;
    from.read_exact(&mut datagram).await?;
    let address = std::str::from_utf8(&address).map_err(|_| invalid())?;
    Ok((datagram, address.parse().map_err(|_| invalid())?))
}

async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    datagram: &[u8],
    address: SocketAddr,
) -> io::Result<()> {
    let address = address.to_string();
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut frame = vec![u8::try_from(address.len()).map_err(too_long)?];
    frame.extend(
        u16::try_from(datagram.len())
            .map_err(too_long)?
            .to_be_bytes(),
    );
    frame.extend(address.as_bytes());
    frame.extend(datagram);
    to.write_all(&frame).await
}

/// The guest's side: passes datagrams both ways until the stream ends.
pub(crate) async fn pass(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    socket: UdpSocket,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let out = async {
        loop {
            let (datagram, address) = read(&mut reader).await?;
            // What cannot be sent is lost, as datagrams are.
            let _ = socket.send_to(&datagram, address).await;
        }
    };
    let back = async {
        let mut buffer = vec![0; LARGEST];
        loop {
            // An error is about a datagram that was sent before.
            if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                write(&mut writer, &buffer[..length], from).await?;
            }
        }
    };
    tokio::select! {
        ended = out => ended,
        ended = back => ended,
    }
}

/// The host's side: a UDP socket inside a guest, until it is dropped.
#[derive(Debug)]
pub struct Datagrams {
    received: tokio::sync::Mutex<mpsc::Receiver<Datagram>>,
    send: mpsc::Sender<Datagram>,
}

/// Binds an address of the guest whose `vial-link` serves `socket`.
///
/// # Errors
/// When the guest is not there, or cannot bind that.
pub async fn bind_udp(
    socket: &Path,
    place: Place,
    address: SocketAddr,
) -> Result<Datagrams, OpenError> {
    let target = Target::Udp(place, address);
    let first = dial(socket, &target).await?;
    let (received, receiver) = mpsc::channel(QUEUE);
    let (send, sent) = mpsc::channel(QUEUE);
    tokio::spawn(carry(socket.to_path_buf(), target, first, received, sent));
    Ok(Datagrams {
        received: receiver.into(),
        send,
    })
}

impl Datagrams {
    /// The next datagram, and who sent it. May be cancelled.
    pub async fn recv_from(&self) -> (Vec<u8>, SocketAddr) {
        match self.received.lock().await.recv().await {
            Some(datagram) => datagram,
            // Only with the runtime.
            None => std::future::pending().await,
        }
    }

    /// Sends one; when too many are under way it is lost.
    pub fn send_to(&self, datagram: &[u8], to: SocketAddr) {
        let _ = self.send.try_send((datagram.to_vec(), to));
    }
}

async fn carry(
    socket: PathBuf,
    target: Target,
    mut stream: UnixStream,
    received: mpsc::Sender<Datagram>,
    mut sent: mpsc::Receiver<Datagram>,
) {
    loop {
        let (mut reader, mut writer) = stream.into_split();
        let coming = async {
            while let Ok(datagram) = read(&mut reader).await {
                let _ = received.try_send(datagram);
            }
        };
        let going = async {
            while let Some((datagram, to)) = sent.recv().await {
                if write(&mut writer, &datagram, to).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = coming => {}
            () = going => {}
            () = received.closed() => return,
        }
        stream = loop {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = received.closed() => return,
            }
            if let Ok(again) = dial(&socket, &target).await {
                break again;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        let (mut one, mut two) = tokio::io::duplex(1 << 20);
        let address = "[fd89::1]:53".parse().unwrap();
        for datagram in [vec![], vec![7; 512], vec![1; LARGEST]] {
            write(&mut one, &datagram, address).await.unwrap();
            assert_eq!(read(&mut two).await.unwrap(), (datagram, address));
        }
        assert!(write(&mut one, &[0; LARGEST + 1], address).await.is_err());
    }

    #[tokio::test]
    async fn datagrams_go_both_ways() {
        let (inside, outside) = tokio::io::duplex(1 << 20);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let passing = tokio::spawn(pass(inside, socket));
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        peer.send_to(b"question", address).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(outside);
        let (datagram, from) = read(&mut reader).await.unwrap();
        assert_eq!(
            (datagram.as_slice(), from),
            (&b"question"[..], peer.local_addr().unwrap())
        );
        write(&mut writer, b"answer", from).await.unwrap();
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&b"answer"[..], address));
        drop((reader, writer));
        assert!(passing.await.unwrap().is_err());
    }
}
