//! A client's agent, at a unix socket of the session's account.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;

use super::{Ending, serve, spawn};
use crate::connection::Client;
use crate::users::Account;

/// Where a directory for it may be made, in this order: containers may be read-only in places.
const PLACES: [&str; 4] = ["/tmp", "/run", "/dev/shm", "/var/tmp"];

/// The socket. Its directory goes with it.
#[derive(Debug)]
pub(crate) struct AgentSocket {
    directory: PathBuf,
    path: PathBuf,
    _task: Ending,
}

impl AgentSocket {
    /// Makes the socket and serves it.
    pub(crate) fn new(client: &Arc<Client>, account: &Account) -> io::Result<Self> {
        let directory = private_directory(account)?;
        let path = directory.join("agent");
        let made = UnixListener::bind(&path).and_then(|listener| {
            own(&path, account)?;
            Ok(listener)
        });
        let listener = match made {
            Ok(listener) => listener,
            Err(error) => {
                // Nothing else is in it.
                let _ = std::fs::remove_dir_all(&directory);
                return Err(error);
            }
        };
        let client = client.clone();
        let task = spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let client = client.clone();
                tokio::spawn(async move {
                    if let Ok(channel) = client.handle.channel_open_agent().await {
                        serve(stream, client.channels.clone(), channel).await;
                    }
                });
            }
        });
        Ok(Self {
            directory,
            path,
            _task: task,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        // The account may have removed it before.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn own(path: &Path, account: &Account) -> io::Result<()> {
    match account.credentials() {
        Some(who) => chown(path, Some(who.uid), Some(who.gid)),
        None => Ok(()),
    }
}

/// A new directory that only the account can enter.
fn private_directory(account: &Account) -> io::Result<PathBuf> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for place in PLACES
        .map(Path::new)
        .into_iter()
        .chain([account.home.as_path()])
    {
        let directory = place.join(format!(".vial-sshd-{:016x}", random()?));
        match std::fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {
                own(&directory, account)?;
                return Ok(directory);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A number that nobody else gets.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    let mut random = std::fs::File::open("/dev/urandom")?;
    io::Read::read_exact(&mut random, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
