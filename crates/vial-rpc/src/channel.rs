//! A gRPC channel over a unix socket.

use std::io;
use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// No gRPC server could be reached on a socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {path}")]
pub struct ConnectError {
    /// The unix socket.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: tonic::transport::Error,
}

/// Opens a channel to the gRPC server that listens on the unix socket `path`.
///
/// # Errors
/// When nobody accepts on that socket. Later calls on the channel reconnect by themselves.
pub async fn connect(path: impl AsRef<Path>) -> Result<Channel, ConnectError> {
    let path = path.as_ref();
    let socket = path.to_path_buf();
    connect_by(path, move || UnixStream::connect(socket.clone())).await
}

/// Opens a channel over the streams that `dial` gives; `path` is what an error names.
///
/// # Errors
/// When no stream can be had. Later calls on the channel dial again by themselves.
pub async fn connect_by<D>(
    path: &Path,
    dial: impl Fn() -> D + Send + 'static,
) -> Result<Channel, ConnectError>
where
    D: Future<Output = io::Result<UnixStream>> + Send + 'static,
{
    // The URI only names the authority of HTTP/2; the connector decides where to.
    Endpoint::from_static("http://vial.invalid")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let dialling = dial();
            async move { dialling.await.map(TokioIo::new) }
        }))
        .await
        .map_err(|source| ConnectError {
            path: path.to_path_buf(),
            source,
        })
}
