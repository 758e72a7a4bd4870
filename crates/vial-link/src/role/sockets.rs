//! The sockets of one session: there while they are served.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};
use vial_sys::error_chain;

use super::arguments::Arguments;
use crate::host::Opener;
use crate::relay::relay;
use crate::target::Target;

#[derive(Debug, thiserror::Error)]
pub(super) enum SocketsError {
    #[error("cannot listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot remove {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
}

/// Removes what an earlier process left; anything else at these paths stays, and is an error later.
pub(super) fn remove(paths: &[&Path]) -> Result<(), SocketsError> {
    for path in paths {
        let socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if socket && let Err(source) = fs::remove_file(path) {
            let path = path.to_path_buf();
            return Err(SocketsError::Remove { path, source });
        }
    }
    Ok(())
}

/// Listening sockets, which are removed with this.
#[derive(Debug)]
pub(super) struct Sockets {
    agent: Listener,
    dial: Option<Listener>,
}

impl Sockets {
    pub(super) fn bind(arguments: &Arguments) -> Result<Self, SocketsError> {
        // The agent's comes last: who sees it finds the other one too.
        let dial = arguments.dial.as_deref().map(Listener::bind).transpose()?;
        let agent = Listener::bind(&arguments.agent)?;
        Ok(Self { agent, dial })
    }

    /// Takes connections, for ever.
    pub(super) async fn serve(&self, opener: &Opener) {
        let agents = self.agent.each(|socket| {
            let opener = opener.clone();
            async move {
                match opener.open(&Target::Agent).await {
                    Ok(stream) => end(relay(stream, socket).await),
                    Err(error) => tracing::debug!("no stream: {}", error_chain(&error)),
                }
            }
        });
        let dialled = async {
            let Some(dial) = &self.dial else {
                return std::future::pending().await;
            };
            dial.each(|socket| {
                let opener = opener.clone();
                async move {
                    match opener.stream().await {
                        Ok(stream) => end(relay(stream, socket).await),
                        Err(error) => tracing::debug!("no stream: {}", error_chain(&error)),
                    }
                }
            })
            .await
        };
        tokio::join!(agents, dialled);
    }
}

fn end(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection was cut");
    }
}

#[derive(Debug)]
struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Binds under another name first: the socket is there when it is private.
    fn bind(path: &Path) -> Result<Self, SocketsError> {
        let listen_error = |source| SocketsError::Listen {
            path: path.to_path_buf(),
            source,
        };
        let mut making = path.as_os_str().to_owned();
        making.push("~");
        let making = Path::new(&making);
        remove(&[making])?;
        let listener = UnixListener::bind(making).map_err(listen_error)?;
        fs::set_permissions(making, fs::Permissions::from_mode(0o600)).map_err(listen_error)?;
        fs::rename(making, path).map_err(listen_error)?;
        let path = path.to_path_buf();
        Ok(Self { listener, path })
    }

    /// Serves each connection in a task of its own.
    async fn each<F>(&self, serve: impl Fn(UnixStream) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            match self.listener.accept().await {
                Ok((socket, _)) => drop(tokio::spawn(serve(socket))),
                Err(error) => {
                    // No descriptors are left: some connection has to end first.
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(super::PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = fs::remove_file(&self.path);
    }
}
