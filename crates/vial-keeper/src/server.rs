//! HTTP over the keeper's unix socket; see [`crate::api`] for what is spoken.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use vial_engine::execute::{Garbage, collect_garbage};
use vial_engine::plan::{ADMIN, Plan};
use vial_spec::ClusterSpec;

use crate::api::{
    BEAT, CheckEvent, CheckResult, CollectRequest, KubeAccess, NodesRequest, StateRequest,
    ThawRequest, UpRequest,
};
use crate::keeper::Keeper;
use crate::operation::By;
use crate::ports::requests;
use crate::{connect, failure, images, status};

/// Listens at `path`, for the owner only.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until `end`; those that are being answered then get the rest.
pub(crate) async fn serve(
    listener: UnixListener,
    keeper: Arc<Keeper>,
    end: impl Future<Output = ()> + Send + 'static,
) {
    let routes = Router::new()
        .route("/v1/status", get(get_status))
        .route("/v1/access", get(get_access))
        .route("/v1/up", post(post_up))
        .route("/v1/down", post(post_down))
        .route("/v1/nodes", post(post_nodes))
        .route("/v1/state", post(post_state))
        .route("/v1/thaw", post(post_thaw))
        .route("/v1/check", post(post_check))
        .route(
            "/v1/ports",
            get(requests::get)
                .post(requests::post)
                .delete(requests::delete),
        )
        .route("/v1/images", get(images::list))
        .route("/v1/images/deliver", post(images::deliver))
        .route("/v1/images/remove", post(images::remove))
        .route("/v1/pods/ssh", post(post_pods_ssh))
        .route("/v1/connect", get(connect::get))
        .route("/v1/registry/gc", post(post_registry_gc))
        .with_state(keeper);
    if let Err(error) = axum::serve(listener, routes)
        .with_graceful_shutdown(end)
        .await
    {
        tracing::error!(%error, "the socket failed");
    }
}

async fn get_status(State(keeper): State<Arc<Keeper>>) -> Response {
    match status::of(&keeper).await {
        Some(status) => Json(status).into_response(),
        None => (
            StatusCode::NOT_FOUND,
            format!("there is no cluster {}", keeper.name),
        )
            .into_response(),
    }
}

async fn get_access(State(keeper): State<Arc<Keeper>>) -> Response {
    let access = || -> vial_engine::Result<Option<KubeAccess>> {
        let Some(record) = keeper.record()? else {
            return Ok(None);
        };
        let Some(living) = keeper.living() else {
            return Ok(None);
        };
        let dir = keeper.paths.cluster_dir(&keeper.name).join("pki");
        let pki = vial_engine::pki::ClusterPki::open(&dir, &living.plan)?;
        let pair = pki.pair(ADMIN)?;
        Ok(Some(KubeAccess {
            server: format!("https://127.0.0.1:{}", record.api_port),
            ca: pki.ca_certificate()?.to_owned(),
            client_certificate: pair.certificate_pem.clone(),
            client_key: pair.key_pem.clone(),
        }))
    };
    match access() {
        Ok(Some(access)) => Json(access).into_response(),
        Ok(None) => not_running(&keeper),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, failure::chain(&error)).into_response(),
    }
}

async fn post_pods_ssh(State(keeper): State<Arc<Keeper>>) -> Response {
    match keeper.pods() {
        Some(pods) => {
            pods.refresh().await;
            Json(()).into_response()
        }
        None => not_running(&keeper),
    }
}

async fn post_up(State(keeper): State<Arc<Keeper>>, Json(request): Json<UpRequest>) -> Response {
    lines(keeper.up(request, By::Person).events())
}

async fn post_down(State(keeper): State<Arc<Keeper>>) -> Response {
    lines(keeper.down().events())
}

async fn post_nodes(
    State(keeper): State<Arc<Keeper>>,
    Json(request): Json<NodesRequest>,
) -> Response {
    lines(keeper.nodes(request).events())
}

async fn post_state(
    State(keeper): State<Arc<Keeper>>,
    Json(request): Json<StateRequest>,
) -> Response {
    lines(keeper.state_of_all(request).events())
}

async fn post_thaw(
    State(keeper): State<Arc<Keeper>>,
    Json(request): Json<ThawRequest>,
) -> Response {
    lines(keeper.thaw(request).events())
}

async fn post_check(State(keeper): State<Arc<Keeper>>) -> Response {
    let Some(living) = keeper.living() else {
        return not_running(&keeper);
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let tell = |outcome: vial_engine::check::Outcome| {
            let result = CheckResult {
                check: outcome.check.into(),
                object: outcome.object,
                passed: outcome.passed,
                detail: outcome.detail,
                millis: outcome.millis,
            };
            // The client may be gone; the check's own pods are removed all the same.
            let _ = sender.send(CheckEvent::Result(result));
        };
        let checked = vial_engine::check::check(
            &living.client,
            living.sandbox.as_ref(),
            &running(&living.plan),
            &tell,
        )
        .await;
        let passed = checked.unwrap_or_else(|error| {
            let detail = failure::chain(&error);
            tell(vial_engine::check::Outcome {
                check: "api",
                object: "kube-apiserver".into(),
                passed: false,
                detail,
                millis: 0,
            });
            false
        });
        let _ = sender.send(CheckEvent::Done { passed });
    });
    lines(tokio_stream::wrappers::UnboundedReceiverStream::new(
        receiver,
    ))
}

/// The cluster without the nodes that were stopped: nothing is expected of them.
fn running(plan: &Plan) -> ClusterSpec {
    let stopped: Vec<String> = plan.stopped.iter().cloned().collect();
    plan.spec.without_nodes(&stopped)
}

/// What needs a sandbox finds none.
pub(crate) fn not_running(keeper: &Keeper) -> Response {
    let message = format!("cluster {} does not run", keeper.name);
    (StatusCode::CONFLICT, message).into_response()
}

async fn post_registry_gc(
    State(keeper): State<Arc<Keeper>>,
    Json(request): Json<CollectRequest>,
) -> Response {
    let Some(living) = keeper.living() else {
        return not_running(&keeper);
    };
    let garbage = if request.untagged {
        Garbage::Untagged
    } else {
        Garbage::Deleted
    };
    // A client that goes away does not stop it.
    let collecting =
        tokio::spawn(async move { collect_garbage(living.sandbox.as_ref(), garbage).await });
    match collecting.await {
        Ok(Ok(())) => Json(()).into_response(),
        Ok(Err(error)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, failure::chain(&error)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// One JSON object a line, as they come; an empty line when nothing came for a while.
pub(crate) fn lines<T: Serialize>(events: impl Stream<Item = T> + Send + 'static) -> Response {
    let bytes = futures::stream::unfold(Box::pin(events), |mut events| async move {
        let mut line = match tokio::time::timeout(BEAT, events.next()).await {
            Ok(None) => return None,
            Ok(Some(event)) => serde_json::to_vec(&event).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), events))
    });
    (
        [(CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(bytes),
    )
        .into_response()
}
