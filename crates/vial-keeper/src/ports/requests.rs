//! `/v1/ports`: which ports are forwarded, more of them, fewer of them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use vial_engine::record::{OpenPort, Record};
use vial_spec::names::did_you_mean;
use vial_spec::port::PortForward;
use vial_spec::target::Target;

use super::{Held, of_record};
use crate::api::{AddPorts, PortStatus, RemovePorts};
use crate::keeper::Keeper;
use crate::reach::{Unreachable, way};
use crate::refused::Refused;

/// What a request to `/v1/ports` is answered.
type Answer = Result<Json<Vec<PortStatus>>, Refused>;

/// All of them.
pub(crate) async fn get(State(keeper): State<Arc<Keeper>>) -> Answer {
    listed(&keeper).await.map(Json)
}

/// More of them: all that are asked for, or none.
pub(crate) async fn post(
    State(keeper): State<Arc<Keeper>>,
    Json(request): Json<AddPorts>,
) -> Answer {
    add(&keeper, &request).await.map(Json)
}

/// Fewer of them: all that are named, or none.
pub(crate) async fn delete(
    State(keeper): State<Arc<Keeper>>,
    Json(request): Json<RemovePorts>,
) -> Answer {
    remove(&keeper, &request).await.map(Json)
}

async fn listed(keeper: &Keeper) -> Result<Vec<PortStatus>, Refused> {
    match keeper.ports() {
        Some(ports) => {
            ports.settle().await;
            Ok(ports.list())
        }
        None => Ok(of_record(&record(keeper)?)),
    }
}

async fn add(keeper: &Keeper, request: &AddPorts) -> Result<Vec<PortStatus>, Refused> {
    let (Some((reach, _)), Some(ports)) = (keeper.reach(), keeper.ports()) else {
        return Err(Refused::stopped(&keeper.name));
    };
    for forward in &request.ports {
        let found = match &forward.target {
            // Without this node the port would never lead anywhere, unless an `up` adds it.
            Target::Node(node) if reach.spec().node(node).is_none() => {
                Err(way::unknown_node(&reach.spec(), node))
            }
            target => reach.ways(target, &forward.target_port).await.map(drop),
        };
        match found {
            // Pods and endpoints come and go.
            Ok(()) | Err(Unreachable::NotReady(_)) => {}
            Err(Unreachable::Unknown { .. }) if request.allow_missing => {}
            Err(error) => return Err(error.into()),
        }
    }
    {
        let _writing = keeper.writing().await;
        let mut record = record(keeper)?;
        let wanted = super::add(&record.ports, &request.ports)?;
        let held = Held::take_all(wanted, &record.ports, Some(&ports))?;
        record.ports = held.iter().map(|held| held.port.clone()).collect();
        record.save(&keeper.paths)?;
        ports.serve(held).await;
    }
    ports.settle().await;
    Ok(ports.list())
}

async fn remove(keeper: &Keeper, request: &RemovePorts) -> Result<Vec<PortStatus>, Refused> {
    let there = listed(keeper).await?;
    let _writing = keeper.writing().await;
    let mut record = record(keeper)?;
    let mut gone: Vec<OpenPort> = Vec::new();
    for text in &request.ports {
        gone.push(find(&record.ports, text)?.clone());
    }
    record.ports.retain(|one| !gone.contains(one));
    // The next `up` without a file must not bring them back.
    let is_gone = |one: &PortForward| gone.iter().any(|port| port.forward == *one);
    record.spec.ports.retain(|one| !is_gone(one));
    record.save(&keeper.paths)?;
    if let Some(ports) = keeper.ports() {
        let held = Held::take_some(record.ports, Vec::new(), &ports);
        ports.serve(held).await;
    }
    let specs: Vec<String> = gone
        .iter()
        .map(|port| port.resolved().to_string())
        .collect();
    Ok(there
        .into_iter()
        .filter(|port| specs.contains(&port.spec))
        .collect())
}

/// The port that a person means: by its number, its address, or as it is shown.
fn find<'a>(ports: &'a [OpenPort], text: &str) -> Result<&'a OpenPort, Refused> {
    let matches = |one: &&OpenPort| {
        let forward = one.resolved();
        text.parse::<u16>().is_ok_and(|port| port == forward.port)
            || text
                .parse::<SocketAddr>()
                .is_ok_and(|address| address == forward.host())
            || text == forward.to_string()
    };
    let found: Vec<&OpenPort> = ports.iter().filter(matches).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => {
            let names: Vec<String> = ports.iter().map(|one| one.port.to_string()).collect();
            let hint = did_you_mean(text, &names).or_else(|| match names.as_slice() {
                [] => Some("none is".to_owned()),
                names => Some(format!("those that are: {}", names.join(", "))),
            });
            let what = format!("port {text} is not forwarded");
            Err(Refused::new(StatusCode::NOT_FOUND, what, hint))
        }
        several => {
            let addresses: Vec<String> = several
                .iter()
                .map(|one| one.resolved().host().to_string())
                .collect();
            let what = format!("port {text} is forwarded more than once");
            let hint = format!("say which one: {}", addresses.join(", "));
            Err(Refused::new(StatusCode::BAD_REQUEST, what, Some(hint)))
        }
    }
}

fn record(keeper: &Keeper) -> Result<Record, Refused> {
    keeper.record()?.ok_or_else(|| {
        let what = format!("there is no cluster {}", keeper.name);
        Refused::new(StatusCode::NOT_FOUND, what, None)
    })
}
