//! Init over gRPC.
//!
//! Work that was begun is finished also when the caller goes away (a keeper that was killed): it runs in a task of its
//! own, and the next caller finds the whole of it or nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{Stream, StreamExt};
use tokio::sync::Mutex;
use tokio_stream::wrappers::{BroadcastStream, ReceiverStream};
use tonic::{Request, Response, Status};
use vial_rpc::init_server::Init;
use vial_rpc::{
    ContainerSpec, ContainerStatus, HoldContainersReply, HoldContainersRequest, InfoReply,
    InfoRequest, ListContainersReply, ListContainersRequest, NetworkReply, NetworkSpec,
    RemoveDirectoryReply, RemoveDirectoryRequest, StopContainerReply, StopContainerRequest,
    WatchContainersRequest,
};

use super::remove;
use crate::container::{self, Containers};
use crate::network;
use crate::reaper::Reaper;

pub(super) struct Service {
    containers: Arc<Containers>,
    /// Held while networks are changed: one at a time.
    network: Arc<Mutex<()>>,
    started_unix_ms: u64,
}

impl Service {
    pub(super) fn new(reaper: Reaper) -> Self {
        let containers = Arc::new(Containers::new(reaper));
        Self {
            containers,
            network: Arc::default(),
            started_unix_ms: unix_ms(),
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs a future to its end, whether or not the caller waits for it.
async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<Response<T>, Status> {
    match tokio::spawn(work).await {
        Ok(result) => result.map(Response::new),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

#[tonic::async_trait]
impl Init for Service {
    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoReply>, Status> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(InfoReply {
            version,
            started_unix_ms: self.started_unix_ms,
        }))
    }

    async fn apply_network(
        &self,
        request: Request<NetworkSpec>,
    ) -> Result<Response<NetworkReply>, Status> {
        let wish = network::wish(request.get_ref())?;
        let turn = Arc::clone(&self.network);
        finish(async move {
            let _turn = turn.lock().await;
            vial_net::apply(wish)
                .await
                .map_err(|error| Status::internal(error.line()))?;
            Ok(NetworkReply {})
        })
        .await
    }

    async fn start_container(
        &self,
        request: Request<ContainerSpec>,
    ) -> Result<Response<ContainerStatus>, Status> {
        let containers = Arc::clone(&self.containers);
        finish(async move { containers.start(request.into_inner()).await }).await
    }

    async fn stop_container(
        &self,
        request: Request<StopContainerRequest>,
    ) -> Result<Response<StopContainerReply>, Status> {
        let containers = Arc::clone(&self.containers);
        finish(async move {
            let StopContainerRequest { name, grace_ms } = request.into_inner();
            containers
                .stop(&name, Duration::from_millis(grace_ms))
                .await?;
            Ok(StopContainerReply {})
        })
        .await
    }

    async fn remove_directory(
        &self,
        request: Request<RemoveDirectoryRequest>,
    ) -> Result<Response<RemoveDirectoryReply>, Status> {
        let path = request.into_inner().path;
        finish(async move {
            let removed = tokio::task::spawn_blocking(move || remove::directory(&path)).await;
            removed.map_err(|error| Status::internal(error.to_string()))??;
            Ok(RemoveDirectoryReply {})
        })
        .await
    }

    type HoldContainersStream = ReceiverStream<Result<HoldContainersReply, Status>>;

    async fn hold_containers(
        &self,
        request: Request<HoldContainersRequest>,
    ) -> Result<Response<Self::HoldContainersStream>, Status> {
        let holds = container::hold(&request.get_ref().names)?;
        Ok(Response::new(ReceiverStream::new(holds)))
    }

    async fn list_containers(
        &self,
        _: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersReply>, Status> {
        Ok(Response::new(ListContainersReply {
            containers: self.containers.list(),
        }))
    }

    type WatchContainersStream =
        Pin<Box<dyn Stream<Item = Result<ContainerStatus, Status>> + Send>>;

    async fn watch_containers(
        &self,
        _: Request<WatchContainersRequest>,
    ) -> Result<Response<Self::WatchContainersStream>, Status> {
        // Who is too slow misses the oldest events, as a watcher that comes late does.
        let events = BroadcastStream::new(self.containers.watch())
            .filter_map(|event| async { event.ok().map(Ok) });
        Ok(Response::new(Box::pin(events)))
    }
}
