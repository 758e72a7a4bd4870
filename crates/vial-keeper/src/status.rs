//! The state of a cluster, put together from its record, its agents and its API.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use vial_engine::freeze;
use vial_engine::paths::Paths;
use vial_engine::plan::{REGISTRY, REGISTRY_NAME};
use vial_engine::record::{Journal, Record};
use vial_rpc::ListComponentsRequest;
use vial_rpc::agent_client::AgentClient;
use vial_rpc::component_status::State;
use vial_spec::{Driver, NodeConfig, Role};

use crate::api::{
    ClusterStatus, ComponentStatus, Endpoint, MachineEnd, NodeStatus, Phase, RegistryStatus,
};
use crate::keeper::{Keeper, View};
use crate::operation::{By, Kind, Operation};

/// How long an agent or the API may take to answer before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// The present state; `None` when there is no cluster (any more), or none that can be read.
pub(crate) async fn of(keeper: &Keeper) -> Option<ClusterStatus> {
    let record = keeper.record().ok().flatten()?;
    let mut status = of_record(&keeper.paths, &record);
    status.keeper_pid = Some(std::process::id());
    status.sandbox_pid = keeper.sandbox_pid().await;
    status.message = keeper.trouble();
    for node in &mut status.nodes {
        let ended = keeper.story.machine_ended(&node.name);
        node.ended = ended.map(|(time, message)| MachineEnd { time, message });
    }
    // Who is halted does not answer.
    if let Some(living) = &keeper.living()
        && !record.paused
    {
        fill(&mut status, &record, living).await;
    }
    status.phase = phase(keeper.last().as_deref(), &record, &status);
    Some(status)
}

/// What the record alone says: a cluster without a sandbox.
pub(crate) fn of_record(paths: &Paths, record: &Record) -> ClusterStatus {
    ClusterStatus {
        name: record.name.clone(),
        uid: record.uid.clone(),
        phase: match record.journal {
            Journal::Deleting => Phase::Deleting,
            Journal::Creating | Journal::Up if freeze::is_frozen(paths, &record.name) => {
                Phase::Frozen
            }
            Journal::Creating | Journal::Up => Phase::Stopped,
        },
        message: None,
        created: record.created.clone(),
        node_image: record.spec.node_image.clone(),
        node_image_digest: record.image_digest.clone(),
        kubernetes: record.kubernetes.clone(),
        api: format!("https://127.0.0.1:{}", record.api_port),
        keeper_pid: None,
        sandbox_pid: None,
        nodes: record
            .spec
            .nodes
            .iter()
            .map(|node| planned(record, node))
            .collect(),
        registry: RegistryStatus {
            host: format!("127.0.0.1:{}", record.registry_port),
            inside: REGISTRY_NAME.into(),
            component: None,
        },
        endpoints: Vec::new(),
    }
}

fn planned(record: &Record, node: &NodeConfig) -> NodeStatus {
    let role = match node.role {
        Role::ControlPlane => "control-plane",
        Role::Worker => "worker",
    };
    NodeStatus {
        name: node.name.clone(),
        role: role.into(),
        driver: match node.driver() {
            Driver::Container => "container".into(),
            Driver::Vm => "vm".into(),
        },
        stopped: record.stopped.contains(&node.name),
        ended: None,
        ready: None,
        addresses: node
            .addresses(record.spec.network.ip_family)
            .iter()
            .map(ToString::to_string)
            .collect(),
        pod_cidrs: record
            .spec
            .node_pod_cidrs(node)
            .iter()
            .map(ToString::to_string)
            .collect(),
        components: Vec::new(),
    }
}

/// A cluster of which only the name can be told, and why.
pub(crate) fn of_name(name: &str, phase: Phase, why: String) -> ClusterStatus {
    ClusterStatus {
        name: name.to_owned(),
        uid: String::new(),
        phase,
        message: Some(why),
        created: String::new(),
        node_image: String::new(),
        node_image_digest: String::new(),
        kubernetes: String::new(),
        api: String::new(),
        keeper_pid: None,
        sandbox_pid: None,
        nodes: Vec::new(),
        registry: RegistryStatus {
            host: String::new(),
            inside: REGISTRY_NAME.into(),
            component: None,
        },
        endpoints: Vec::new(),
    }
}

/// A running operation wins; then the worst of what was seen. What the keeper does of its own is no new creation.
fn phase(last: Option<&Operation>, record: &Record, status: &ClusterStatus) -> Phase {
    let busy = last.filter(|last| !last.is_finished() && last.by == By::Person);
    let repaired = last.is_some_and(|last| last.by == By::Keeper);
    let well = |node: &NodeStatus| {
        let mut components = node.components.iter();
        let ready = node.ready.as_deref() == Some("True")
            && components.all(|component| component.state == "ready");
        ready || node.stopped
    };
    let registry = status.registry.component.as_ref();
    let registry = registry.is_some_and(|registry| registry.state == "ready");
    match (busy.map(|busy| &busy.kind), record.journal) {
        (Some(Kind::Down), _) | (_, Journal::Deleting) => Phase::Deleting,
        (Some(Kind::Up(_) | Kind::Thaw(_)), _) => Phase::Creating,
        // As the record has it: stopped, or frozen.
        _ if status.sandbox_pid.is_none() => status.phase,
        _ if record.paused => Phase::Paused,
        (_, Journal::Creating) if !repaired => Phase::Creating,
        (_, _) if status.nodes.iter().all(well) && registry => Phase::Running,
        (_, _) => Phase::Degraded,
    }
}

async fn fill(status: &mut ClusterStatus, record: &Record, living: &View) {
    if let Some(target) = living.plan.api_target() {
        let host = format!("127.0.0.1:{}", record.api_port);
        status.endpoints.push(Endpoint {
            name: "api".into(),
            host,
            target: target.to_string(),
            message: String::new(),
        });
    }
    if let Some(target) = living.plan.registry_target() {
        status.endpoints.push(Endpoint {
            name: REGISTRY.into(),
            host: status.registry.host.clone(),
            target: target.to_string(),
            message: String::new(),
        });
    }
    let registry = components(living, REGISTRY);
    let nodes_components = join_all(living.plan.running().map(|node| async {
        let lists = join_all(
            node.containers
                .iter()
                .map(|container| components(living, &container.spec.name)),
        )
        .await;
        let mut found: BTreeMap<_, _> = lists
            .into_iter()
            .flatten()
            .map(|one| (one.name.clone(), one))
            .collect();
        let planned = node.containers.iter().flat_map(|container| {
            let of = |plan| (container.spec.name.as_str(), plan);
            container.components.iter().map(of)
        });
        let all = planned
            .map(|(container, plan)| ComponentStatus {
                container: container.to_owned(),
                ..found
                    .remove(&plan.spec.name)
                    .unwrap_or_else(|| silent(&plan.spec.name))
            })
            .collect();
        (node.config.name.clone(), all)
    }));
    let api: Api<Node> = Api::all(living.client.clone());
    let params = ListParams::default();
    let nodes = tokio::time::timeout(PATIENCE, api.list(&params));
    let settled = living.ports.settle();
    let (registry, components, nodes, ()) =
        tokio::join!(registry, nodes_components, nodes, settled);
    let ports = living.ports.list().into_iter().map(|port| Endpoint {
        name: "port".into(),
        host: port.host,
        target: port.target,
        message: port.message,
    });
    status.endpoints.extend(ports);
    let registry = registry.into_iter().next();
    status.registry.component = Some(registry.unwrap_or_else(|| silent(REGISTRY)));
    let mut components: BTreeMap<String, Vec<ComponentStatus>> = components.into_iter().collect();
    let nodes = nodes
        .ok()
        .and_then(Result::ok)
        .map(|list| list.items)
        .unwrap_or_default();
    for node in &mut status.nodes {
        node.components = components.remove(&node.name).unwrap_or_default();
        let object = nodes
            .iter()
            .find(|object| object.metadata.name.as_deref() == Some(&node.name));
        node.ready = object.map(|object| {
            vial_engine::kube_api::ready(object).map_or_else(|| "Unknown".into(), |ready| ready.0)
        });
    }
}

/// What an agent says of its components; nothing when it is silent.
async fn components(living: &View, container: &str) -> Vec<ComponentStatus> {
    let asked = async {
        let channel = living.sandbox.agent(container).await.ok()?;
        let reply = AgentClient::new(channel)
            .list_components(ListComponentsRequest {})
            .await
            .ok()?;
        Some(reply.into_inner().components)
    };
    let found = tokio::time::timeout(PATIENCE, asked)
        .await
        .ok()
        .flatten()
        .unwrap_or_default();
    found.into_iter().map(known).collect()
}

fn known(component: vial_rpc::ComponentStatus) -> ComponentStatus {
    let state = match component.state() {
        State::Waiting => "waiting",
        State::Starting => "starting",
        State::Ready => "ready",
        State::Backoff => "backoff",
        State::Stopping => "stopping",
        State::Stopped => "stopped",
    };
    let since = i64::try_from(component.since_unix_ms)
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok());
    ComponentStatus {
        container: String::new(),
        state: state.into(),
        pid: (component.pid != 0).then_some(component.pid),
        restarts: component.restarts,
        since: since.map(|since| since.to_string()).unwrap_or_default(),
        message: component.message,
        name: component.name,
    }
}

fn silent(name: &str) -> ComponentStatus {
    ComponentStatus {
        name: name.to_owned(),
        container: String::new(),
        state: "unknown".into(),
        pid: None,
        restarts: 0,
        since: String::new(),
        message: "its agent does not answer".into(),
    }
}
