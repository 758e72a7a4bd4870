//! The task that owns the components: carries out what the [`lifecycle`](crate::lifecycle) decides.
//!
//! Everyone else holds a [`Supervisor`] and sends requests over a channel. Children, timers and probes report back over
//! the same channel, so that events have one order.

mod task;

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};
use vial_rpc::{ComponentSpec, ComponentStatus};

use crate::lifecycle::{Event, Refusal};
use crate::reaper::{Child, Reaper};

/// What can be asked of the owner.
enum Request {
    Apply(
        Box<ComponentSpec>,
        oneshot::Sender<Result<ComponentStatus, Refusal>>,
    ),
    Remove(String, oneshot::Sender<()>),
    Restart(String, oneshot::Sender<Option<ComponentStatus>>),
    Subscribe(oneshot::Sender<Subscription>),
    Specs(oneshot::Sender<Vec<Arc<ComponentSpec>>>),
    Processes(oneshot::Sender<Result<Vec<Process>, String>>),
    Adopt(Vec<(ComponentSpec, Child)>, oneshot::Sender<()>),
    Fallen(oneshot::Sender<String>),
    Shutdown(oneshot::Sender<()>),
    Happened(Event),
}

/// A component and its process.
pub(crate) type Process = (Arc<ComponentSpec>, i32);

/// The present statuses, and every change after them.
pub(crate) struct Subscription {
    pub(crate) present: Vec<ComponentStatus>,
    pub(crate) changes: broadcast::Receiver<ComponentStatus>,
}

/// The owner is gone: the agent is ending.
#[derive(Debug, thiserror::Error)]
#[error("the agent is stopping")]
pub(crate) struct Gone;

/// Speaks to the owner of the components.
#[derive(Clone)]
pub(crate) struct Supervisor {
    requests: mpsc::UnboundedSender<Request>,
}

impl Supervisor {
    /// Starts the owner as a task.
    pub(crate) fn start(reaper: Arc<Reaper>) -> Self {
        let (requests, queue) = mpsc::unbounded_channel();
        tokio::spawn(task::Owner::new(reaper, requests.clone()).run(queue));
        Self { requests }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Starts or replaces a component; returns its state right after that.
    pub(crate) async fn apply(
        &self,
        spec: ComponentSpec,
    ) -> Result<Result<ComponentStatus, Refusal>, Gone> {
        self.ask(|reply| Request::Apply(Box::new(spec), reply))
            .await
    }

    /// Stops a component and forgets it; returns when its process is gone, at once when there is none of that name.
    pub(crate) async fn remove(&self, name: String) -> Result<(), Gone> {
        self.ask(|reply| Request::Remove(name, reply)).await
    }

    /// Stops and starts a component; `None` when there is none of that name.
    pub(crate) async fn restart(&self, name: String) -> Result<Option<ComponentStatus>, Gone> {
        self.ask(|reply| Request::Restart(name, reply)).await
    }

    /// The present state of all, with every change from then on.
    pub(crate) async fn subscribe(&self) -> Result<Subscription, Gone> {
        self.ask(Request::Subscribe).await
    }

    /// The wanted specs, in the order in which they were first applied.
    pub(crate) async fn specs(&self) -> Result<Vec<Arc<ComponentSpec>>, Gone> {
        self.ask(Request::Specs).await
    }

    /// Those that have a process; the name of one that is just being stopped instead.
    pub(crate) async fn processes(&self) -> Result<Result<Vec<Process>, String>, Gone> {
        self.ask(Request::Processes).await
    }

    /// Takes over processes of components that nobody has applied yet.
    pub(crate) async fn adopt(&self, processes: Vec<(ComponentSpec, Child)>) -> Result<(), Gone> {
        self.ask(|reply| Request::Adopt(processes, reply)).await
    }

    /// Which vital component ended by itself, and how; waits for it.
    pub(crate) async fn fallen(&self) -> Result<String, Gone> {
        self.ask(Request::Fallen).await
    }

    /// Stops all in reverse order; returns when nothing runs any more.
    pub(crate) async fn shut_down(&self) -> Result<(), Gone> {
        self.ask(Request::Shutdown).await
    }
}
