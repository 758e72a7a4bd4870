//! Taking clients, and ending them: when they do not log in, and when the server ends.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::Disconnect;
use russh::server::Config;
use rustix::net::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::GOODBYE;
use crate::args::Args;
use crate::connection::{Admitted, Connection};
use crate::site::Site;

/// Takes clients for ever.
pub(super) async fn serve(
    args: &Args,
    listener: TcpListener,
    config: Arc<Config>,
    site: Arc<Site>,
    ending: watch::Receiver<bool>,
) {
    let startups = Arc::new(Semaphore::new(args.max_startups));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot take a client: {error}");
                // Descriptors come back when others end.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(startup) = startups.clone().try_acquire_owned() else {
            tracing::warn!("too many clients log in: {address} is sent away");
            continue;
        };
        let Ok(server) = stream.local_addr() else {
            continue;
        };
        let (connection, admitted) = Connection::new(site.clone(), address, server, startup);
        let grace = args.login_grace;
        tokio::spawn(client(
            stream,
            config.clone(),
            connection,
            admitted,
            grace,
            ending.clone(),
        ));
    }
}

/// One client, from its first byte to its last.
async fn client(
    stream: TcpStream,
    config: Arc<Config>,
    connection: Connection,
    admitted: Admitted,
    grace: Duration,
    mut ending: watch::Receiver<bool>,
) {
    let Ok(cut) = prepare(&stream) else { return };
    let grace = tokio::time::sleep(grace);
    tokio::pin!(grace);
    let running = tokio::select! {
        running = russh::server::run_stream(config, stream, connection) => running,
        () = &mut grace => return,
        () = ended(&mut ending) => return,
    };
    let mut session = match running {
        Ok(session) => session,
        Err(error) => {
            tracing::debug!("no ssh client: {error}");
            return;
        }
    };
    let handle = session.handle();
    let on_time = async {
        grace.await;
        if !admitted.load(Ordering::Relaxed) {
            return;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = &mut session => {
            if let Err(error) = ended {
                tracing::debug!("connection broken: {error}");
            }
            return;
        }
        () = on_time => tracing::debug!("login took too long"),
        () = ended(&mut ending) => {
            let (reason, text) = (Disconnect::ByApplication, "the server ends".to_owned());
            let goodbye = async {
                if handle.disconnect(reason, text, String::new()).await.is_ok() {
                    // It ends when the client has closed its side, which need not be ever.
                    let _ = (&mut session).await;
                }
            };
            let _ = tokio::time::timeout(GOODBYE / 2, goodbye).await;
        }
    }
    // Reading and writing end at once, and with them the session's task; fails when the client is gone.
    let _ = rustix::net::shutdown(&cut, Shutdown::Both);
}

/// Resolves when the server ends.
async fn ended(ending: &mut watch::Receiver<bool>) {
    // The sender is gone only with the server.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Sets the socket up, and returns a second descriptor, by which it can be cut.
fn prepare(stream: &TcpStream) -> io::Result<OwnedFd> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    stream.as_fd().try_clone_to_owned()
}
