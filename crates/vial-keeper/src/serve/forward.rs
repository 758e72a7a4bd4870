//! A port of the host, each connection of which is dialled inside the sandbox.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use vial_sandbox::{Network, Sandbox};

/// Accepts until the task is dropped. A target that goes away and comes back needs nothing: each connection dials anew.
pub(crate) async fn serve(listener: TcpListener, sandbox: Arc<dyn Sandbox>, target: SocketAddr) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn(connect(client, Arc::clone(&sandbox), target));
                }
                Err(error) => {
                    // Out of descriptors: accept would fail again at once, so let some connections end first.
                    tracing::warn!(%error, %target, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(mut client: TcpStream, sandbox: Arc<dyn Sandbox>, target: SocketAddr) {
    let mut server = match sandbox.dial(Network::Management, target).await {
        Ok(server) => server,
        // The client sees its connection closed, as from any server that is down.
        Err(error) => {
            tracing::debug!(error = %crate::failure::chain(&error), %target, "cannot dial");
            return;
        }
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    // Either side may cut the connection; that is its business.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
