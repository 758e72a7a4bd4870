//! Connections that come to an address inside the guest and are served by the host.
//!
//! ```text
//!  host                                   guest
//!  listen - 10.89.0.1:53 ───────────────► listening
//!                        ◄─── 7 PEER ──── somebody has connected: waiting
//!  accept 7 ────────────────────────────► taken: bytes both ways
//! ```
//! The guest's listener lives as long as the stream on which it tells; what was told and not taken ends with it. The
//! host's goes on over sessions: a link that is made anew is asked again.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;

use crate::dial::dial;
use crate::host::OpenError;
use crate::stream::{Stream, read_line};
use crate::target::{Place, Target};

/// How many connections may be under way to whoever serves them.
const BACKLOG: usize = 16;
/// Before a link that has gone is asked again.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// The guest's side: connections that were told and not taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting {
    next: Arc<AtomicU64>,
    known: Arc<Mutex<HashMap<u64, TcpStream>>>,
}

impl Waiting {
    fn known(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of that number.
    pub(crate) fn take(&self, id: u64) -> io::Result<TcpStream> {
        let taken = self.known().remove(&id);
        taken.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has ended"))
    }

    /// Tells connections until the host does not want to know any more.
    pub(crate) async fn tell(&self, mut stream: Stream, listener: TcpListener) -> io::Result<()> {
        let mut told = Told {
            waiting: self,
            ids: Vec::new(),
        };
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stream.given_up() => return Ok(()),
            };
            let (socket, peer) = accepted?;
            socket.set_nodelay(true)?;
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            self.known().insert(id, socket);
            told.ids.retain(|id| self.known().contains_key(id));
            told.ids.push(id);
            stream
                .write_all(format!("{id} {peer}\n").as_bytes())
                .await?;
        }
    }
}

/// What one listener has told.
struct Told<'a> {
    waiting: &'a Waiting,
    ids: Vec<u64>,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let mut known = self.waiting.known();
        for id in &self.ids {
            known.remove(id);
        }
    }
}

/// The host's side: a listener inside a guest. Connections are taken until it is dropped.
#[derive(Debug)]
pub struct Listener {
    taken: tokio::sync::Mutex<mpsc::Receiver<(UnixStream, SocketAddr)>>,
}

/// Listens at an address of the guest whose `vial-link` serves `socket`.
///
/// # Errors
/// When the guest is not there, or cannot listen there.
pub async fn listen(
    socket: &Path,
    place: Place,
    address: SocketAddr,
) -> Result<Listener, OpenError> {
    let target = Target::Listen(place, address);
    let first = dial(socket, &target).await?;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(take(socket.to_path_buf(), target, first, sender));
    Ok(Listener {
        taken: receiver.into(),
    })
}

impl Listener {
    /// The next connection, and whose it is. May be cancelled.
    pub async fn accept(&self) -> (UnixStream, SocketAddr) {
        match self.taken.lock().await.recv().await {
            Some(taken) => taken,
            // Only with the runtime.
            None => std::future::pending().await,
        }
    }
}

async fn take(
    socket: PathBuf,
    target: Target,
    mut told: UnixStream,
    sender: mpsc::Sender<(UnixStream, SocketAddr)>,
) {
    loop {
        tokio::select! {
            () = take_all(&socket, told, &sender) => {}
            () = sender.closed() => return,
        }
        told = loop {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = sender.closed() => return,
            }
            if let Ok(again) = dial(&socket, &target).await {
                break again;
            }
        };
    }
}

/// Takes what is told on one stream, until that ends.
async fn take_all(
    socket: &Path,
    mut told: UnixStream,
    sender: &mpsc::Sender<(UnixStream, SocketAddr)>,
) {
    while let Ok(line) = read_line(&mut told).await {
        let parts = line.split_once(' ');
        let Some((Ok(id), Ok(peer))) = parts.map(|(id, peer)| (id.parse(), peer.parse())) else {
            tracing::warn!(line, "the guest told no connection");
            return;
        };
        let (socket, sender) = (socket.to_path_buf(), sender.clone());
        tokio::spawn(async move {
            // One that ended meanwhile is nobody's.
            if let Ok(taken) = dial(&socket, &Target::Accept(id)).await {
                let _ = sender.send((taken, peer)).await;
            }
        });
    }
}
