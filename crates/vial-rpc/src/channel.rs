//! A gRPC channel over a unix socket.

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
    let path = path.as_ref().to_path_buf();
    let socket = path.clone();
    // The URI only names the authority of HTTP/2; the connector decides where to.
    Endpoint::from_static("http://vial.invalid")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|source| ConnectError { path, source })
}
