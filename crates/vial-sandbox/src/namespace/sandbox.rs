//! A living sandbox of namespaces.
//!
//! # Invariants
//! Nothing here holds a namespace: the process is held by a pidfd, which keeps nothing alive, and sockets are made by a
//! thread that goes home at once. Sockets that were handed out do keep the network namespace: whoever holds them closes them
//! when [`Sandbox::ended`] resolves.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use vial_link::{Place, Target};
use vial_net::{Inside, NetError};
use vial_node::init::{InitSpec, SOCKET};
use vial_rpc::Channel;
use vial_sys::identity::{Identity, Process};

use super::outside::Way;
use super::sweep;
use crate::ended::ended;
use crate::errors::{error, failed};
use crate::guest::Guest;
use crate::{
    Connection, Datagrams, Listener, Network, Outside, Sandbox, SandboxError, SandboxSpec, door,
    running,
};

pub(super) struct NamespaceSandbox {
    spec: SandboxSpec,
    identity: Identity,
    process: Arc<Process>,
    way: Way,
}

impl NamespaceSandbox {
    pub(super) fn new(spec: SandboxSpec, (identity, process): (Identity, Process)) -> Self {
        let process = Arc::new(process);
        let first = (identity.pid, Arc::clone(&process));
        let way = Way::new(spec.run_dir.clone(), first);
        Self {
            spec,
            identity,
            process,
            way,
        }
    }

    async fn connect(
        &self,
        what: String,
        path: std::path::PathBuf,
    ) -> Result<Channel, SandboxError> {
        let connected = vial_rpc::connect(&path).await;
        connected.map_err(|cause| {
            error(
                &format!("cannot reach {what}"),
                &self.spec.name,
                io::Error::other(cause),
            )
        })
    }

    fn error(&self, operation: &str, cause: io::Error) -> SandboxError {
        error(operation, &self.spec.name, cause)
    }

    /// The network, where it is that of a node which is a virtual machine and answers; else it is one of the namespaces.
    fn guest(&self, network: Network<'_>) -> Option<Guest> {
        match network {
            Network::Management => None,
            Network::Node(name) => Some(Guest {
                link: link(&self.spec.run_dir, name)?,
                place: Place::Own,
            }),
        }
    }

    /// Makes a socket in a network of the namespaces.
    async fn inside<T>(
        &self,
        network: Network<'_>,
        make: impl AsyncFnOnce(Inside) -> Result<T, NetError>,
    ) -> io::Result<T> {
        let process = Arc::clone(&self.process);
        let inside = match network {
            Network::Management => Ok(Inside::of(process)),
            Network::Node(name) => Inside::node(process, self.identity.pid, name),
        };
        let made = match inside {
            Ok(inside) => make(inside).await,
            Err(cause) => Err(cause),
        };
        made.map_err(|cause| io::Error::new(cause.source.kind(), cause.line()))
    }
}

/// Where the link into the guest is dialled, of a node that is a virtual machine and answers.
fn link(run_dir: &Path, node: &str) -> Option<PathBuf> {
    let link = run_dir.join(format!("agents/{node}.machine/dial.sock"));
    link.exists().then_some(link)
}

impl Sandbox for NamespaceSandbox {
    fn init(&self) -> BoxFuture<'_, Result<Channel, SandboxError>> {
        self.connect(
            "the first process".to_owned(),
            self.spec.run_dir.join(SOCKET),
        )
        .boxed()
    }

    fn agent<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<Channel, SandboxError>> {
        self.connect(
            format!("the agent of {container}"),
            door::agent_below(&self.spec.run_dir, container),
        )
        .boxed()
    }

    fn socket<'a>(
        &'a self,
        container: &'a str,
        path: &'a str,
    ) -> BoxFuture<'a, Result<Channel, SandboxError>> {
        async move {
            let what = format!("{path} of {container}");
            let failed = |cause| self.error(&format!("cannot reach {what}"), cause);
            let found = running::find(self.init().await?, container).await;
            let found = found.map_err(failed)?;
            let Some(found) = found else {
                let node = container.strip_suffix(".node");
                return match node.and_then(|node| link(&self.spec.run_dir, node)) {
                    Some(link) => door::through(link, Target::Unix(path.into()))
                        .await
                        .map_err(|cause| failed(io::Error::other(cause))),
                    None => Err(failed(io::Error::other("the container does not run"))),
                };
            };
            // Two times through the roots of processes: the sandbox's, whose /proc has its own pids, and the container's.
            let path = format!(
                "/proc/{}/root/proc/{}/root{path}",
                self.identity.pid, found.pid
            );
            self.connect(what.clone(), path.into()).await
        }
        .boxed()
    }

    fn dial<'a>(
        &'a self,
        from: Network<'a>,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<Connection, SandboxError>> {
        async move {
            let made = match self.guest(from) {
                Some(guest) => guest.dial(address).await,
                None => self
                    .inside(from, async |inside| inside.dial(address).await)
                    .await
                    .map(Connection::Tcp),
            };
            made.map_err(|cause| self.error(&format!("cannot dial {address}"), cause))
        }
        .boxed()
    }

    fn listen<'a>(
        &'a self,
        at: Network<'a>,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<Listener, SandboxError>> {
        async move {
            let made = match self.guest(at) {
                Some(guest) => guest.listen(address).await,
                None => self
                    .inside(at, async |inside| inside.listen(address).await)
                    .await
                    .map(Listener::Tcp),
            };
            made.map_err(|cause| self.error(&format!("cannot listen at {address}"), cause))
        }
        .boxed()
    }

    fn bind_udp<'a>(
        &'a self,
        at: Network<'a>,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<Datagrams, SandboxError>> {
        async move {
            let made = match self.guest(at) {
                Some(guest) => guest.bind_udp(address).await,
                None => self
                    .inside(at, async |inside| inside.bind_udp(address).await)
                    .await
                    .map(Datagrams::Udp),
            };
            made.map_err(|cause| self.error(&format!("cannot bind UDP {address}"), cause))
        }
        .boxed()
    }

    fn open_outside<'a>(&'a self, wanted: &'a Outside) -> BoxFuture<'a, Result<(), SandboxError>> {
        async move {
            let name = &self.spec.name;
            let carrier = self.way.open(wanted.clone()).await;
            let carrier = carrier.map_err(|cause| failed("cannot open a way out", name, cause))?;
            ended(&carrier)
                .await
                .map_err(|cause| error("cannot watch the way out", name, cause))
        }
        .boxed()
    }

    fn close_outside(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        let closed = self.way.close();
        closed
            .map(|result| {
                result.map_err(|cause| failed("cannot close the way out", &self.spec.name, cause))
            })
            .boxed()
    }

    fn pid(&self) -> u32 {
        self.identity.pid
    }

    fn end(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        async move {
            let name = &self.spec.name;
            self.process
                .kill()
                .map_err(|cause| failed("cannot end the sandbox", name, cause))?;
            // Who is frozen does not even die (of version 1).
            InitSpec::group(name)
                .and_then(|group| group.thaw_all())
                .map_err(|cause| failed("cannot end the sandbox", name, cause))?;
            ended(&self.process)
                .await
                .map_err(|cause| error("cannot end the sandbox", name, cause))?;
            sweep::sweep(name.clone(), self.spec.run_dir.clone()).await
        }
        .boxed()
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Err(error) = ended(&self.process).await {
                // Out of descriptors; telling an end that was not seen would be worse than waiting.
                tracing::error!(sandbox = self.spec.name, %error, "cannot watch the first process");
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}
