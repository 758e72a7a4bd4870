//! The gRPC service: from messages to requests, from errors to status codes. Decides nothing.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use vial_rpc::agent_server::Agent;
use vial_rpc::exec_input::Input;
use vial_rpc::{
    AgentInfoReply, AgentInfoRequest, ComponentRef, ComponentSpec, ComponentStatus, DumpReply,
    DumpRequest, ExecInput, ExecOutput, ListComponentsReply, ListComponentsRequest, LogsChunk,
    LogsRequest, LookReply, LookRequest, ReadTreePart, ReadTreeRequest, RemoveComponentReply,
    RestoreReply, RestoreRequest, TreeSummary, WaitReadyRequest, WatchComponentsRequest,
    WriteFilesReply, WriteFilesRequest, WriteTreePart, write_tree_part,
};
use vial_sys::error_chain;

use crate::exec::{self, ExecError};
use crate::files::{self, WriteError};
use crate::freeze::Freezer;
use crate::lifecycle::Refusal;
use crate::logs::{self, LogsError};
use crate::nearest::unknown_component;
use crate::reaper::Reaper;
use crate::supervisor::{Gone, Subscription, Supervisor};
use crate::{probe, tree, wait};

/// Changes of state that wait for a slow watcher.
const QUEUE: usize = 16;

/// The agent as its clients see it.
pub(crate) struct Server {
    supervisor: Supervisor,
    reaper: Arc<Reaper>,
    freezer: Freezer,
    started_unix_ms: u64,
}

impl Server {
    pub(crate) fn new(supervisor: Supervisor, reaper: Arc<Reaper>) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        Self {
            freezer: Freezer::new(supervisor.clone(), reaper.clone()),
            supervisor,
            reaper,
            started_unix_ms: u64::try_from(now).unwrap_or(u64::MAX),
        }
    }

    async fn unknown(&self, name: &str) -> Status {
        let specs = self.supervisor.specs().await.unwrap_or_default();
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        Status::not_found(unknown_component(name, &names))
    }
}

#[tonic::async_trait]
impl Agent for Server {
    async fn info(&self, _: Request<AgentInfoRequest>) -> Result<Response<AgentInfoReply>, Status> {
        Ok(Response::new(AgentInfoReply {
            version: env!("CARGO_PKG_VERSION").to_string(),
            started_unix_ms: self.started_unix_ms,
            hostname: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        }))
    }

    async fn write_files(
        &self,
        request: Request<WriteFilesRequest>,
    ) -> Result<Response<WriteFilesReply>, Status> {
        let files = request.into_inner().files;
        let written = tokio::task::spawn_blocking(move || files::write_all(&files)).await;
        written.map_err(|_| Status::internal("writing files was interrupted"))??;
        Ok(Response::new(WriteFilesReply {}))
    }

    async fn apply_component(
        &self,
        request: Request<ComponentSpec>,
    ) -> Result<Response<ComponentStatus>, Status> {
        let spec = request.into_inner();
        if let Some(ready) = &spec.ready {
            let wrong = |error| format!("cannot apply {}: {}", spec.name, error_chain(&error));
            probe::check(ready).map_err(|error| Status::invalid_argument(wrong(error)))?;
        }
        match self.supervisor.apply(spec).await? {
            Ok(status) => Ok(Response::new(status)),
            Err(refusal @ Refusal::Stopping { .. }) => {
                Err(Status::unavailable(refusal.to_string()))
            }
            Err(refusal) => Err(Status::invalid_argument(refusal.to_string())),
        }
    }

    async fn remove_component(
        &self,
        request: Request<ComponentRef>,
    ) -> Result<Response<RemoveComponentReply>, Status> {
        self.supervisor.remove(request.into_inner().name).await?;
        Ok(Response::new(RemoveComponentReply {}))
    }

    async fn restart_component(
        &self,
        request: Request<ComponentRef>,
    ) -> Result<Response<ComponentStatus>, Status> {
        let name = request.into_inner().name;
        match self.supervisor.restart(name.clone()).await? {
            Some(status) => Ok(Response::new(status)),
            None => Err(self.unknown(&name).await),
        }
    }

    async fn list_components(
        &self,
        _: Request<ListComponentsRequest>,
    ) -> Result<Response<ListComponentsReply>, Status> {
        let components = self.supervisor.subscribe().await?.present;
        Ok(Response::new(ListComponentsReply { components }))
    }

    async fn wait_ready(
        &self,
        request: Request<WaitReadyRequest>,
    ) -> Result<Response<ComponentStatus>, Status> {
        wait::wait_ready(&self.supervisor, request.into_inner())
            .await
            .map(Response::new)
    }

    type WatchComponentsStream = ReceiverStream<Result<ComponentStatus, Status>>;

    async fn watch_components(
        &self,
        _: Request<WatchComponentsRequest>,
    ) -> Result<Response<Self::WatchComponentsStream>, Status> {
        let subscription = self.supervisor.subscribe().await?;
        let (statuses, queue) = mpsc::channel(QUEUE);
        let supervisor = self.supervisor.clone();
        tokio::spawn(async move {
            // Ends with the client, or with the agent.
            let _ = watch(&supervisor, subscription, &statuses).await;
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }

    type ExecStream = ReceiverStream<Result<ExecOutput, Status>>;

    async fn exec(
        &self,
        request: Request<Streaming<ExecInput>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let mut inputs = request.into_inner();
        let Some(Input::Start(start)) = inputs.message().await?.and_then(|first| first.input)
        else {
            return Err(Status::invalid_argument(
                "the first message of an exec has to be its start",
            ));
        };
        let outputs = exec::start(&self.reaper, &start, inputs)?;
        Ok(Response::new(ReceiverStream::new(outputs)))
    }

    type LogsStream = ReceiverStream<Result<LogsChunk, Status>>;

    async fn logs(
        &self,
        request: Request<LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let chunks = logs::serve(&self.supervisor, request.into_inner()).await?;
        Ok(Response::new(ReceiverStream::new(chunks)))
    }

    async fn look(&self, request: Request<LookRequest>) -> Result<Response<LookReply>, Status> {
        tree::look(request.into_inner()).await.map(Response::new)
    }

    type ReadTreeStream = ReceiverStream<Result<ReadTreePart, Status>>;

    async fn read_tree(
        &self,
        request: Request<ReadTreeRequest>,
    ) -> Result<Response<Self::ReadTreeStream>, Status> {
        let parts = tree::read(request.into_inner())?;
        Ok(Response::new(ReceiverStream::new(parts)))
    }

    async fn write_tree(
        &self,
        request: Request<Streaming<WriteTreePart>>,
    ) -> Result<Response<TreeSummary>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|first| first.part);
        let Some(write_tree_part::Part::Start(start)) = first else {
            return Err(Status::invalid_argument(
                "the first message of a tree has to be its start",
            ));
        };
        tree::write(start, parts).await.map(Response::new)
    }

    type DumpStream = ReceiverStream<Result<DumpReply, Status>>;

    async fn dump(
        &self,
        request: Request<DumpRequest>,
    ) -> Result<Response<Self::DumpStream>, Status> {
        let replies = self.freezer.dump(request.into_inner());
        Ok(Response::new(ReceiverStream::new(replies)))
    }

    async fn restore(
        &self,
        request: Request<RestoreRequest>,
    ) -> Result<Response<RestoreReply>, Status> {
        let restored = self.freezer.restore(request.into_inner()).await;
        Ok(Response::new(restored?))
    }
}

/// Sends the present states, then every change; a watcher that was too slow gets the present states again.
fn watch<'a>(
    supervisor: &'a Supervisor,
    mut subscription: Subscription,
    statuses: &'a mpsc::Sender<Result<ComponentStatus, Status>>,
) -> BoxFuture<'a, Option<()>> {
    Box::pin(async move {
        loop {
            for status in std::mem::take(&mut subscription.present) {
                statuses.send(Ok(status)).await.ok()?;
            }
            loop {
                let change = tokio::select! {
                    change = subscription.changes.recv() => change,
                    () = statuses.closed() => return None,
                };
                match change {
                    Ok(status) => statuses.send(Ok(status)).await.ok()?,
                    Err(RecvError::Lagged(_)) => break,
                    Err(RecvError::Closed) => return None,
                }
            }
            subscription = supervisor.subscribe().await.ok()?;
        }
    })
}

impl From<Gone> for Status {
    fn from(gone: Gone) -> Self {
        Self::unavailable(gone.to_string())
    }
}

impl From<WriteError> for Status {
    fn from(error: WriteError) -> Self {
        match &error {
            WriteError::Path { .. } => Self::invalid_argument(error.to_string()),
            WriteError::Write { .. } => Self::failed_precondition(error_chain(&error)),
        }
    }
}

impl From<ExecError> for Status {
    fn from(error: ExecError) -> Self {
        let text = error_chain(&error);
        match error {
            ExecError::NoCommand | ExecError::NoUser { .. } | ExecError::NoDirectory { .. } => {
                Self::invalid_argument(text)
            }
            ExecError::Terminal { .. } | ExecError::Pipe { .. } => Self::resource_exhausted(text),
        }
    }
}

impl From<LogsError> for Status {
    fn from(error: LogsError) -> Self {
        match error {
            LogsError::Unknown(text) => Self::not_found(text),
            LogsError::NoFile { .. } => Self::failed_precondition(error.to_string()),
            LogsError::Gone(gone) => gone.into(),
        }
    }
}
