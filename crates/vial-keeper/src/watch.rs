//! What ends without being asked to: the sandbox, a node's container, an operation.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use vial_rpc::WatchContainersRequest;
use vial_rpc::container_status::State;
use vial_rpc::init_client::InitClient;
use vial_sandbox::Sandbox;

use crate::api::UpRequest;
use crate::failure::chain;
use crate::keeper::Keeper;

/// Between two attempts to bring a fallen node back.
const PAUSE: Duration = Duration::from_secs(5);

/// Resolves when the operation at work, if any, has ended.
pub(crate) async fn until_operation_ends(keeper: &Arc<Keeper>) {
    if let Some(operation) = keeper.operation() {
        operation.finished().await;
    }
}

/// Waits for the sandbox's end and sweeps what the kernel leaves; brings back nodes that fall meanwhile.
pub(crate) async fn sandbox(keeper: Arc<Keeper>, sandbox: Arc<dyn Sandbox>) {
    let nodes = tokio::spawn(nodes(Arc::clone(&keeper), Arc::clone(&sandbox)));
    sandbox.ended().await;
    nodes.abort();
    drop(sandbox);
    // A `down` sweeps by itself.
    if keeper.busy() == Some(crate::operation::Kind::Down) {
        return;
    }
    tracing::warn!(cluster = keeper.name, "the sandbox ended");
    keeper.forget();
    let spec = vial_engine::execute::sandbox_spec(&keeper.paths, &keeper.name);
    if let Err(error) = keeper.maker.sweep(&spec).await {
        tracing::error!(error = %chain(&error), "cannot sweep");
    }
    keeper.swept();
}

/// Runs an `up` to the remembered state whenever a container ends that nobody stopped.
///
/// Boxed, since an `up` starts a watch and a watch starts an `up`.
fn nodes(keeper: Arc<Keeper>, sandbox: Arc<dyn Sandbox>) -> BoxFuture<'static, ()> {
    Box::pin(bring_back(keeper, sandbox))
}

async fn bring_back(keeper: Arc<Keeper>, sandbox: Arc<dyn Sandbox>) {
    let Ok(channel) = sandbox.init().await else {
        return;
    };
    let Ok(events) = InitClient::new(channel)
        .watch_containers(WatchContainersRequest {})
        .await
    else {
        return;
    };
    let mut events = events.into_inner();
    while let Ok(Some(status)) = events.message().await {
        if status.state() != State::Ended || keeper.busy().is_some() {
            continue;
        }
        tracing::warn!(
            container = status.name,
            code = status.exit_code,
            "a container ended"
        );
        if let Ok(Some(record)) = keeper.record() {
            keeper
                .up(UpRequest { spec: record.spec })
                .await
                .finished()
                .await;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
