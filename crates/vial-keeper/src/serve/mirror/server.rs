//! HTTP as containerd speaks to a mirror: `GET` and `HEAD` below `/v2/`, the registry in `ns`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use vial_sandbox::Listener;
use vial_spec::Outbound;

use super::request::Wanted;
use super::{Found, Mirror};
use crate::failure::chain;

/// How many connections a cluster may have here: each node pulls by a few.
const CONNECTIONS: usize = 256;
/// How long a client may be silent between two requests.
const SILENCE: Duration = Duration::from_secs(30);

/// Serves until the task is dropped. More connections than there may be wait.
pub(super) async fn serve(listener: Listener, mirror: Arc<Mirror>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut clients = JoinSet::new();
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        while clients.try_join_next().is_some() {}
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            // Without descriptors it would fail again at once.
            Err(error) => {
                tracing::warn!(%error, "the mirror of registries cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mirror = Arc::clone(&mirror);
        clients.spawn(async move {
            let _held = permit;
            let answer = service_fn(move |request| {
                let mirror = Arc::clone(&mirror);
                async move { Ok::<_, Infallible>(answer(&mirror, request).await) }
            });
            // A client may go away; that is its business.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(SILENCE)
                .serve_connection(TokioIo::new(client), answer)
                .await;
        });
    }
}

/// The query.
#[derive(Deserialize)]
struct Namespace {
    ns: String,
}

async fn answer(mirror: &Arc<Mirror>, request: Request<Incoming>) -> Response<Body> {
    let (method, uri) = (request.method(), request.uri());
    if ![Method::GET, Method::HEAD].contains(method) {
        return error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "only pulls");
    }
    if mirror.wanted.borrow().outbound == Outbound::None {
        return not_found("nothing leaves this cluster");
    }
    if uri.path() == "/v2/" {
        return Response::new("{}".into());
    }
    let wanted = Query::<Namespace>::try_from_uri(uri)
        .ok()
        .and_then(|Query(query)| Wanted::parse(uri.path(), &query.ns));
    let Some(wanted) = wanted else {
        return not_found("not of a public registry");
    };
    match mirror.find(method, &wanted).await {
        Ok(found) => give(method, found),
        Err(failure) => {
            let why = chain(&failure);
            tracing::info!(why, "not mirrored");
            not_found(&why)
        }
    }
}

fn give(method: &Method, found: Found) -> Response<Body> {
    let mut answer = Response::builder()
        .header(header::CONTENT_TYPE, found.kind)
        .header("Docker-Content-Digest", found.digest.as_str());
    if let Some(size) = found.size {
        answer = answer.header(header::CONTENT_LENGTH, size);
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        found.body
    };
    // A kind that is no text for a header: nothing that containerd could use.
    answer
        .body(body)
        .unwrap_or_else(|_| not_found("of an unknown kind"))
}

/// containerd goes on to the registry itself, and tells a person what that one says.
fn not_found(why: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, "NOT_FOUND", why)
}

/// As the distribution specification wants it ("Error Codes").
fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
    let mut answer = Response::new(body.to_string().into());
    *answer.status_mut() = status;
    answer
}
