//! `GET /v1/connect?target=HOST:PORT`: one connection into the cluster, over the keeper's socket.
//!
//! ```text
//! GET … Upgrade: vial-stream ──► look up, dial ──► 101 ──► bytes both ways, each way ended by itself ──► both ended
//!                                     └─ cannot: 4xx or 502 with JSON {"message", "hint"}
//! ```

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::copy_bidirectional_with_sizes;
use vial_sandbox::Connection;
use vial_spec::target::{Target, TargetError, TargetPort};

use crate::api::STREAM;
use crate::keeper::Keeper;
use crate::refused::Refused;

/// Of each direction.
const BUFFER: usize = 64 * 1024;

/// The query.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    /// `HOST:PORT`, IPv6 in brackets.
    target: String,
}

/// Dials, then becomes a stream of bytes.
pub(crate) async fn get(
    State(keeper): State<Arc<Keeper>>,
    Query(wanted): Query<Wanted>,
    mut request: Request,
) -> Result<Response, Refused> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (true, Some(upgrade)) = (asks_for_stream(request.headers()), upgrade) else {
        let what = format!("{:?} needs the header Upgrade: {STREAM}", "/v1/connect");
        return Err(Refused::new(StatusCode::UPGRADE_REQUIRED, what, None));
    };
    let (target, port) = parse(&wanted.target)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, error.to_string(), None))?;
    let (reach, closing) = keeper
        .reach()
        .ok_or_else(|| Refused::stopped(&keeper.name))?;
    let stream = reach.connect(&target, &port).await?;
    tokio::spawn(closing.run_until_cancelled_owned(pass(upgrade, stream)));
    let headers = [(CONNECTION, "upgrade"), (UPGRADE, STREAM)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

fn asks_for_stream(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value == STREAM)
}

fn parse(text: &str) -> Result<(Target, TargetPort), TargetError> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| TargetError::Shape(text.to_owned()))?;
    let (target, port) = (host.parse::<Target>()?, port.parse()?);
    target.check_port(&port)?;
    Ok((target, port))
}

async fn pass(upgrade: OnUpgrade, mut stream: Connection) {
    // A client that went away before the answer.
    let Ok(client) = upgrade.await else { return };
    // Either side may cut the connection; that is its business.
    let _ =
        copy_bidirectional_with_sizes(&mut TokioIo::new(client), &mut stream, BUFFER, BUFFER).await;
}
