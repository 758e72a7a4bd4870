//! A port of the host, each connection of which is dialled inside the sandbox.
//!
//! ```text
//! wait for a permit ──► accept ──► dial ──┬─► relay until both sides have ended ──► permit back
//!                                         └─ cannot: the client gets an RST, as from a port that nobody listens on
//! ```
//! A target that goes away and comes back needs nothing: each connection dials anew. Without a permit nothing is
//! accepted: a client that floods the port waits in the kernel's queue, and other ports are served all the same.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use vial_sandbox::{Connection, Listener, Network, Sandbox};

use crate::reach::Unreachable;

/// How many connections a port may have.
#[derive(Clone)]
pub(crate) struct Permits {
    /// Of this port.
    own: Arc<Semaphore>,
    /// Of several ports together.
    shared: Option<Arc<Semaphore>>,
}

/// Those of this process, which raises its limit of descriptors when it first needs to know.
static BUDGET: LazyLock<Budget> = LazyLock::new(|| {
    let descriptors = vial_sys::limits::raise_descriptors();
    Budget::of(descriptors.unwrap_or(1024))
});

/// How the descriptors of a process are shared out.
struct Budget {
    api: Arc<Semaphore>,
    /// For each port.
    each: usize,
    /// For all ports.
    ports: Arc<Semaphore>,
}

impl Budget {
    /// What the keeper needs beside connections: its API, watches, pipes of [`vial_net::relay`].
    const RESERVED: u64 = 512 + 2 * vial_net::PIPES as u64;

    /// A quarter of the connections is the API's, whatever happens to other ports, and no port has more than half of
    /// the rest.
    fn of(descriptors: u64) -> Self {
        let pairs = descriptors.saturating_sub(Self::RESERVED) / 2;
        let connections = usize::try_from(pairs)
            .unwrap_or(usize::MAX)
            .clamp(64, 64 * 1024);
        let ports = connections - connections / 4;
        Self {
            api: Arc::new(Semaphore::new(connections / 4)),
            each: ports / 2,
            ports: Arc::new(Semaphore::new(ports)),
        }
    }
}

impl Permits {
    /// For the API.
    pub(crate) fn of_the_api() -> Self {
        Self {
            own: Arc::clone(&BUDGET.api),
            shared: None,
        }
    }

    /// For any other port.
    pub(crate) fn of_a_port() -> Self {
        Self {
            own: Arc::new(Semaphore::new(BUDGET.each)),
            shared: Some(Arc::clone(&BUDGET.ports)),
        }
    }

    /// Waits until there may be one connection more.
    async fn acquire(&self) -> (Permit, Option<Permit>) {
        let own = Arc::clone(&self.own).acquire_owned().await;
        match &self.shared {
            Some(shared) => (own, Some(Arc::clone(shared).acquire_owned().await)),
            None => (own, None),
        }
    }
}

/// Held as long as a connection lives. The semaphores are never closed.
type Permit = Result<OwnedSemaphorePermit, AcquireError>;

/// Dials one address, from the sandbox's own network.
pub(crate) fn direct(
    sandbox: Arc<dyn Sandbox>,
    target: SocketAddr,
) -> impl Fn() -> BoxFuture<'static, Result<Connection, Unreachable>> {
    move || {
        let sandbox = Arc::clone(&sandbox);
        async move {
            let dialled = sandbox.dial(Network::Management, target).await;
            dialled.map_err(|error| Unreachable::dial(target.to_string(), &error))
        }
        .boxed()
    }
}

/// Accepts until the task is dropped; `open` is how many connections there are.
pub(crate) async fn serve<D, F>(
    listener: Listener,
    permits: Permits,
    open: Arc<AtomicUsize>,
    dial: D,
) where
    D: Fn() -> F + Send + Sync,
    F: Future<Output = Result<Connection, Unreachable>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = permits.acquire() => permit,
            Some(_) = connections.join_next() => continue,
        };
        let client = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => break client,
                    // ECONNABORTED is over at once; without descriptors accept would fail again at once.
                    Err(error) => {
                        tracing::warn!(%error, ?listener, "cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
            }
        };
        let counted = Counted::new(&open);
        let dialling = dial();
        connections.spawn(async move {
            let _held = (permit, counted);
            connect(client, dialling).await;
        });
    }
}

async fn connect(
    client: Connection,
    dialling: impl Future<Output = Result<Connection, Unreachable>>,
) {
    match dialling.await {
        // Either side may cut the connection; that is its business.
        Ok(server) => drop(client.relay(server).await),
        Err(error) => {
            tracing::debug!(%error, "cannot dial");
            client.cut();
        }
    }
}

/// One connection, as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_has_its_share_and_no_port_has_all_of_the_rest() {
        let budget = Budget::of(20_000);
        let (api, ports) = (
            budget.api.available_permits(),
            budget.ports.available_permits(),
        );
        assert!(api > 2_000 && budget.each > 1_000 && ports >= 2 * budget.each);
        assert!(2 * (api + ports) as u64 + Budget::RESERVED <= 20_000);
        let small = Budget::of(256);
        assert!(small.api.available_permits() > 0 && small.each > 0);
    }
}
