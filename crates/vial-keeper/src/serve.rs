//! What a keeper serves while its sandbox lives: names inside, ports on the host, load balancers on both sides.
//!
//! Everything here holds sockets only; dropping a [`Services`] closes them all.

mod dns;
pub(crate) mod forward;
mod load_balancer;

pub(crate) use dns::{read_message, write_message};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use vial_engine::paths::Paths;
use vial_sandbox::Sandbox;
use vial_spec::ClusterSpec;

use crate::ports::Ports;
use crate::reach::Reach;
use forward::Permits;

/// The running services of one sandbox.
pub(crate) struct Services {
    _tasks: JoinSet<()>,
    wanted: watch::Sender<Arc<ClusterSpec>>,
    reach: Reach,
    ports: Arc<Ports>,
    closing: CancellationToken,
    _close: DropGuard,
}

impl Services {
    /// Serves the API on `api` (a listener of the host), DNS inside, and load balancers. A name server that cannot be had is logged, not
    /// fatal: addresses still work.
    pub(crate) fn start(
        sandbox: &Arc<dyn Sandbox>,
        spec: &ClusterSpec,
        api: TcpListener,
        target: SocketAddr,
        client: &kube::Client,
        paths: &Paths,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let dial = forward::direct(Arc::clone(sandbox), target);
        tasks.spawn(forward::serve(
            api,
            Permits::of_the_api(),
            Arc::default(),
            dial,
        ));
        tasks.spawn(dns::serve(Arc::clone(sandbox), spec.clone()));
        tasks.spawn(load_balancer::serve(
            client.clone(),
            Arc::clone(sandbox),
            paths.clone(),
            spec.name.clone(),
        ));
        let (wanted, watched) = watch::channel(Arc::new(spec.clone()));
        let reach = Reach {
            sandbox: Arc::clone(sandbox),
            client: client.clone(),
            wanted: watched,
        };
        let ports = Arc::new(Ports::new(reach.clone()));
        tasks.spawn(Arc::clone(&ports).keep_trying());
        let closing = CancellationToken::new();
        Self {
            _tasks: tasks,
            wanted,
            ports,
            reach,
            _close: closing.clone().drop_guard(),
            closing,
        }
    }

    /// The cluster is wanted otherwise from now on.
    pub(crate) fn change(&self, spec: &ClusterSpec) {
        self.wanted.send_replace(Arc::new(spec.clone()));
    }

    /// How to reach into the cluster.
    pub(crate) fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// The forwarded ports.
    pub(crate) fn ports(&self) -> Arc<Ports> {
        Arc::clone(&self.ports)
    }

    /// Cancelled when these services end: sockets into the sandbox must not outlive them.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }
}

/// Listens on a loopback port of the host; 0 takes a free one.
///
/// # Errors
/// When the port is taken by another program.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
