//! The fixture: a guest's end without a guest.

use std::io;
use std::path::PathBuf;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use vial_link::Ports;

/// A guest whose port leads to whoever is given to [`Guest::meet`].
pub(crate) struct Guest {
    hosts: mpsc::UnboundedSender<UnixStream>,
    directory: tempfile::TempDir,
    end: AbortHandle,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.end.abort();
    }
}

struct Doors(mpsc::UnboundedReceiver<UnixStream>);

impl Ports for Doors {
    type Line = UnixStream;

    async fn open(&mut self) -> io::Result<UnixStream> {
        match self.0.recv().await {
            Some(line) => Ok(line),
            // The machine is gone; so is this process, in truth.
            None => std::future::pending().await,
        }
    }
}

impl Guest {
    /// Starts one whose agent tells everything back, as another socket of it does.
    pub(crate) fn start() -> Self {
        let (hosts, lines) = mpsc::unbounded_channel();
        let directory = tempfile::tempdir().unwrap();
        let agent = directory.path().join("agent.sock");
        for socket in [&agent, &directory.path().join("echo.sock")] {
            let listener = UnixListener::bind(socket).unwrap();
            tokio::spawn(async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(echo(socket));
                }
            });
        }
        let served = tokio::spawn(vial_link::serve(Doors(lines), agent, vial_link::OwnNetwork));
        Self {
            hosts,
            directory,
            end: served.abort_handle(),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("echo.sock")
    }

    /// A path in a directory that goes with it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A host's line to it.
    pub(crate) fn meet(&self) -> UnixStream {
        let (host, guest) = UnixStream::pair().unwrap();
        self.plug(guest);
        host
    }

    /// Connects its port.
    pub(crate) fn plug(&self, port: UnixStream) {
        self.hosts.send(port).unwrap();
    }
}

pub(crate) async fn echo(socket: impl tokio::io::AsyncRead + tokio::io::AsyncWrite) {
    let (mut read, mut write) = tokio::io::split(socket);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}
