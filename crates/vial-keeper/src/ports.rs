//! Forwarded ports: ports of the host that lead into the cluster, for the cluster's life.
//!
//! ```text
//! up -p, port add ──merge (pure)──► bind ──► record ──► served ──(port rm, another up)──► closed
//!                        │ wanted    │ taken:             │ waiting: no such Service or Pod yet
//!                        │ twice     │ nothing is changed │ taken: by somebody, while nobody kept the cluster; tried again
//! ```
//! The record says which ports there are; a [`Ports`] serves them while the sandbox lives. A port is bound before
//! anything is written or made, so one that is taken changes nothing.

mod held;
mod merge;
mod owner;
pub(crate) mod requests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio_util::task::AbortOnDropHandle;
use vial_engine::record::{OpenPort, Record};
use vial_sandbox::Listener;
use vial_spec::port::PortForward;

use crate::api::{PortState, PortStatus};
use crate::reach::Reach;
use crate::reach::follow::Followed;
use crate::serve::forward::{self, Permits};

pub(crate) use held::{Held, Taken};
pub(crate) use merge::{Conflict, add, merge};

/// How long a list of ports waits for the API's first word on a target.
const SETTLING: Duration = Duration::from_secs(1);

/// Between two attempts to have a port that another program has.
const RETRY: Duration = Duration::from_secs(1);

/// The forwarded ports of a living sandbox. Dropping it closes them and cuts their connections.
pub(crate) struct Ports {
    reach: Reach,
    open: Mutex<Vec<Served>>,
}

struct Served {
    port: OpenPort,
    how: Result<Serving, Taken>,
}

struct Serving {
    /// A second descriptor of the socket that the task listens on.
    socket: TcpListener,
    followed: Arc<Followed>,
    connections: Arc<AtomicUsize>,
    task: AbortOnDropHandle<()>,
}

impl Ports {
    pub(crate) fn new(reach: Reach) -> Self {
        Self {
            reach,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<Served>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves these ports and no others. One that stays as it is keeps its connections; those of others are cut, and
    /// their ports free, when this returns.
    pub(crate) async fn serve(&self, wanted: Vec<Held>) {
        let gone = {
            let mut open = self.open();
            let mut before = std::mem::take(&mut *open);
            for held in wanted {
                let same = |one: &Served| one.port == held.port && one.how.is_ok();
                open.push(match before.iter().position(same) {
                    Some(index) => before.swap_remove(index),
                    None => self.start(held),
                });
            }
            before
        };
        for serving in gone.into_iter().filter_map(|one| one.how.ok()) {
            serving.task.abort();
            // Cut off, as was wanted; the socket is closed with it.
            let _ = serving.task.await;
        }
    }

    fn start(&self, held: Held) -> Served {
        let Held { port, socket } = held;
        let how = socket.and_then(|socket| {
            let address = port.resolved().host();
            let accepted = self.accept(&port.forward, socket);
            accepted.map_err(|error| Taken::unserved(address, &error))
        });
        if let Err(taken) = &how {
            tracing::warn!(%taken, "a forwarded port is not served");
        }
        Served { port, how }
    }

    fn accept(&self, forward: &PortForward, socket: TcpListener) -> io::Result<Serving> {
        let listener = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
        let listener = Listener::Tcp(listener);
        let (target, port) = (forward.target.clone(), forward.target_port.clone());
        let followed = Arc::new(Followed::new(self.reach.clone(), target, port));
        let connections = Arc::new(AtomicUsize::new(0));
        let dialled = Arc::clone(&followed);
        let dial = move || {
            let followed = Arc::clone(&dialled);
            async move { followed.connect().await }
        };
        let serving = forward::serve(
            listener,
            Permits::of_a_port(),
            Arc::clone(&connections),
            dial,
        );
        Ok(Serving {
            socket,
            followed,
            connections,
            task: AbortOnDropHandle::new(tokio::spawn(serving)),
        })
    }

    /// Takes ports that were taken by others as soon as they are free, until the task is dropped.
    pub(crate) async fn keep_trying(self: Arc<Self>) {
        loop {
            // Nobody tells when another program closes a socket.
            tokio::time::sleep(RETRY).await;
            for served in self.open().iter_mut().filter(|one| one.how.is_err()) {
                if let Ok(socket) = held::bind(served.port.resolved().host())
                    && let Ok(serving) = self.accept(&served.port.forward, socket)
                {
                    served.how = Ok(serving);
                }
            }
        }
    }

    /// The socket of a port that is served.
    fn socket_at(&self, address: SocketAddr) -> Option<TcpListener> {
        let open = self.open();
        let served = open
            .iter()
            .find(|one| one.port.resolved().host() == address)?;
        served.how.as_ref().ok()?.socket.try_clone().ok()
    }

    /// Waits until it is known of each port whether its target is there, but not for long.
    pub(crate) async fn settle(&self) {
        let followed: Vec<_> = {
            let open = self.open();
            let serving = open.iter().filter_map(|one| one.how.as_ref().ok());
            serving.map(|one| Arc::clone(&one.followed)).collect()
        };
        join_all(followed.iter().map(|one| one.settle(SETTLING))).await;
    }

    /// What is served and how it does.
    pub(crate) fn list(&self) -> Vec<PortStatus> {
        let open = self.open();
        let status = |served: &Served| {
            let (state, message) = match &served.how {
                Err(taken) => (PortState::Taken, taken.reason.clone()),
                Ok(serving) => match serving.followed.waits_for() {
                    Some(reason) => (PortState::Waiting, reason.in_one_line()),
                    None => (PortState::Open, String::new()),
                },
            };
            let serving = served.how.as_ref().ok();
            let connections = serving.map(|one| one.connections.load(Ordering::Relaxed));
            PortStatus {
                connections: connections.unwrap_or_default(),
                ..describe(&served.port, state, message)
            }
        };
        open.iter().map(status).collect()
    }
}

/// The ports of a cluster that does not run.
pub(crate) fn of_record(record: &Record) -> Vec<PortStatus> {
    let stopped = |port| describe(port, PortState::Stopped, String::new());
    record.ports.iter().map(stopped).collect()
}

fn describe(port: &OpenPort, state: PortState, message: String) -> PortStatus {
    let forward = port.resolved();
    PortStatus {
        host: forward.host().to_string(),
        target: format!("{}:{}", forward.target, forward.target_port),
        spec: forward.to_string(),
        state,
        message,
        connections: 0,
    }
}
