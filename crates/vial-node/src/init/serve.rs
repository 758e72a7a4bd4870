//! The runtime of the first process: reaps, serves Init on the run directory's socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use vial_rpc::init_server::InitServer;
use vial_sys::{During, SysError};

use super::SOCKET;
use super::service::Service;
use crate::reaper::Reaper;

/// The run directory, as seen inside.
const RUN: &str = "/vial/run";

/// Serves until killed; says by `ready` when it does, and polls `beside` meanwhile.
pub(super) fn run(
    ready: impl FnOnce(),
    beside: impl Future<Output = ()> + Send + 'static,
) -> Result<(), SysError> {
    // A second first-process-to-be in one program (a test) has a logger already.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    // One thread: what blocks is handed to threads of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .during(|| "start the runtime".to_owned())?;
    runtime.block_on(async {
        let reaper = Reaper::start()?;
        let listener = listen(&Path::new(RUN).join(SOCKET))?;
        ready();
        tokio::spawn(beside);
        tracing::info!("serving");
        tonic::transport::Server::builder()
            .add_service(InitServer::new(Service::new(reaper)))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
            .map_err(std::io::Error::other)
            .during(|| "serve".to_owned())
    })
}

fn listen(path: &Path) -> Result<UnixListener, SysError> {
    let operation = || format!("listen at {}", path.display());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).during(operation);
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).during(operation)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).during(operation)?;
    Ok(listener)
}
