//! A living sandbox that is a machine: everything goes over its link.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use vial_link::{Place, Target};
use vial_node::init::SOCKET;
use vial_qemu::arguments::disk_device;
use vial_qemu::frozen::{self, Disk, FreezeError};
use vial_qemu::{Layers, Qmp};
use vial_rpc::Channel;
use vial_sys::identity::{Identity, Process};

use super::outside::Way;
use super::{FILES, link, make, sweep};
use crate::door::{self, LINK};
use crate::ended::ended;
use crate::errors::{error, to_io};
use crate::guest::Guest;
use crate::{
    After, Connection, Datagrams, Listener, Network, Outside, Sandbox, SandboxError, SandboxSpec,
    inside, running,
};

/// How long a link that was started again may take until it serves.
const REVIVED: Duration = Duration::from_secs(10);
/// How often is looked whether it does.
const LOOK: Duration = Duration::from_millis(10);

pub(super) struct MachineSandbox {
    spec: SandboxSpec,
    identity: Identity,
    process: Arc<Process>,
    way: Way,
}

impl MachineSandbox {
    pub(super) fn new(spec: SandboxSpec, (identity, process): (Identity, Process)) -> Self {
        let process = Arc::new(process);
        let way = Way::new(spec.run_dir.clone());
        Self {
            spec,
            identity,
            process,
            way,
        }
    }

    /// The link, which is brought back when it was killed.
    async fn link(&self) -> io::Result<PathBuf> {
        let socket = self.spec.run_dir.join(LINK);
        self.alive()?;
        // A killed one leaves its sockets; whoever lives holds the lock.
        link::ensure(&self.spec.run_dir)?;
        let there = async {
            while !socket.exists() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the link does not serve");
        tokio::time::timeout(REVIVED, there).await.map_err(late)?;
        Ok(socket)
    }

    /// An error when the machine has ended: nothing may be started beside it any more.
    fn alive(&self) -> io::Result<()> {
        match self.process.has_ended().map_err(to_io)? {
            true => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the machine has ended",
            )),
            false => Ok(()),
        }
    }

    async fn channel(&self, what: &str, target: Target) -> Result<Channel, SandboxError> {
        let opened = async {
            let link = self.link().await?;
            door::through(link, target).await.map_err(io::Error::other)
        };
        opened
            .await
            .map_err(|cause| self.error(&format!("cannot reach {what}"), cause))
    }

    fn error(&self, operation: &str, cause: io::Error) -> SandboxError {
        error(operation, &self.spec.name, cause)
    }

    /// QEMU serves one client at a time: whoever has it lets go of it soon.
    async fn monitor(&self) -> Result<Qmp, FreezeError> {
        Ok(Qmp::connect(&self.spec.run_dir.join("qmp.sock")).await?)
    }

    /// Tells the guest what time it is, now that it has stood still.
    async fn wake(&self) -> io::Result<()> {
        let link = self.link().await?;
        vial_link::wake(&link).await.map_err(io::Error::other)
    }

    async fn guest(&self, network: Network<'_>) -> io::Result<Guest> {
        let place = match network {
            Network::Management => Place::Own,
            Network::Node(name) => Place::Named(name.to_owned()),
        };
        let link = self.link().await?;
        Ok(Guest { link, place })
    }
}

/// What the machine writes to.
fn disk(cluster_dir: &Path) -> io::Result<Disk> {
    let options = json!({ "discard": "unmap", "cache": { "no-flush": true } });
    Ok(Disk {
        device: disk_device("data"),
        files: Layers::of(&cluster_dir.join(FILES).join("data"))?,
        options: options.as_object().cloned().unwrap_or_default(),
    })
}

impl Sandbox for MachineSandbox {
    fn init(&self) -> BoxFuture<'_, Result<Channel, SandboxError>> {
        let socket = PathBuf::from(inside::RUN).join(SOCKET);
        async move {
            self.channel("the first process", Target::Unix(socket))
                .await
        }
        .boxed()
    }

    fn agent<'a>(&'a self, container: &'a str) -> BoxFuture<'a, Result<Channel, SandboxError>> {
        let socket = door::agent_below(inside::RUN.as_ref(), container);
        async move {
            let what = format!("the agent of {container}");
            self.channel(&what, Target::Unix(socket)).await
        }
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
            let found = found
                .map_err(failed)?
                .ok_or_else(|| failed(io::Error::other("the container does not run")))?;
            // Through the root of the container's first process, by its pid in the machine.
            let socket = format!("/proc/{}/root{path}", found.pid);
            self.channel(&what, Target::Unix(socket.into())).await
        }
        .boxed()
    }

    fn dial<'a>(
        &'a self,
        from: Network<'a>,
        address: SocketAddr,
    ) -> BoxFuture<'a, Result<Connection, SandboxError>> {
        async move {
            let made = async { self.guest(from).await?.dial(address).await };
            let made = made.await;
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
            let made = async { self.guest(at).await?.listen(address).await };
            let made = made.await;
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
            let made = async { self.guest(at).await?.bind_udp(address).await };
            let made = made.await;
            made.map_err(|cause| self.error(&format!("cannot bind UDP {address}"), cause))
        }
        .boxed()
    }

    fn open_outside<'a>(&'a self, wanted: &'a Outside) -> BoxFuture<'a, Result<(), SandboxError>> {
        async move {
            let opened = async {
                self.alive()?;
                let carrier = self.way.open(wanted).await?;
                // It would wait for ever for a machine that ended meanwhile.
                if let Err(ended) = self.alive() {
                    self.way.close().await?;
                    return Err(ended);
                }
                Ok(carrier)
            };
            let opened = opened.await;
            let carrier = opened.map_err(|cause| self.error("cannot open a way out", cause))?;
            let watched = ended(&carrier).await;
            watched.map_err(|cause| self.error("cannot watch the way out", cause))?;
            // It goes on as long as the machine does, unless it cannot or was ended.
            let cause = io::Error::other(format!("passt: {}", self.way.last_words()));
            Err(self.error("the way out has ended", cause))
        }
        .boxed()
    }

    fn close_outside(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        async move {
            let closed = self.way.close().await;
            closed.map_err(|cause| self.error("cannot close the way out", cause))
        }
        .boxed()
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        async move {
            let halted = async { Ok::<_, FreezeError>(self.monitor().await?.stop().await?) };
            let halted = halted.await;
            halted.map_err(|cause| self.error("cannot pause the sandbox", io::Error::other(cause)))
        }
        .boxed()
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        async move {
            let gone_on = async { frozen::mend(&self.monitor().await?).await };
            let gone_on = gone_on.await;
            let failed = |cause| self.error("cannot resume the sandbox", cause);
            gone_on.map_err(|cause| failed(io::Error::other(cause)))?;
            self.wake().await.map_err(failed)
        }
        .boxed()
    }

    fn freeze<'a>(
        &'a self,
        into: &'a Path,
        after: After,
    ) -> BoxFuture<'a, Result<(), SandboxError>> {
        async move {
            let failed = |cause| self.error("cannot freeze the sandbox", cause);
            let disk = disk(&self.spec.cluster_dir).map_err(failed)?;
            let frozen = async {
                let monitor = self.monitor().await?;
                frozen::freeze(&monitor, into, &[disk], after).await
            };
            let frozen = frozen.await;
            frozen.map_err(|cause| failed(io::Error::other(cause)))?;
            match after {
                After::GoOn => self.wake().await.map_err(failed),
                After::Stay => Ok(()),
            }
        }
        .boxed()
    }

    fn pid(&self) -> u32 {
        self.identity.pid
    }

    fn end(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        async move {
            let ended = make::end(&self.process).await;
            ended.map_err(|cause| self.error("cannot end the sandbox", cause))?;
            sweep::sweep(self.spec.name.clone(), self.spec.run_dir.clone()).await
        }
        .boxed()
    }

    fn ended(&self) -> BoxFuture<'_, ()> {
        async move {
            if let Err(error) = ended(&self.process).await {
                // Out of descriptors; telling an end that was not seen would be worse than waiting.
                tracing::error!(sandbox = self.spec.name, %error, "cannot watch the machine");
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}
