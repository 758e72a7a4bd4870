//! One pod of vial, as people and programs see it; pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Service};
use kube::ResourceExt;
use serde::Serialize;

use crate::words;

/// What state a pod is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// One can log in.
    Ready,
    /// On its way.
    Starting,
    /// It does not come by itself: an image, a node, a right is missing, or it ends again and again.
    Failing,
    /// On its way out.
    Ending,
}

/// A pod of vial.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodView {
    /// Its name, which is that of its Service and Deployment.
    pub name: String,
    /// Where it is.
    pub namespace: String,
    /// For programs.
    pub state: State,
    /// For people, in Kubernetes' own words: `Running`, `ImagePullBackOff`, …
    pub status: String,
    /// Of the Service: they stay as long as the pod of vial does.
    pub cluster_ips: Vec<IpAddr>,
    /// Of the Pod that runs now.
    pub pod_ips: Vec<IpAddr>,
    /// Where the Pod runs.
    pub node: Option<String>,
    /// The image of its container.
    pub image: String,
    /// The name of the Pod that runs now.
    pub pod: Option<String>,
    /// How often its container was started again.
    pub restarts: i32,
    /// Whom to log in as.
    pub user: String,
    /// The public host key, `ssh-ed25519 AAAA…`.
    pub host_key: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it is removed.
    pub expires: Option<Timestamp>,
    /// The batch that it came with.
    pub batch: Option<String>,
    /// Ports of the Service beside ssh: `80`, `80:30080`.
    pub ports: Vec<String>,
    /// The Service's labels that are not vial's.
    pub labels: BTreeMap<String, String>,
}

impl PodView {
    /// From the objects that belong to it. Of several Pods the newest that is not on its way out counts.
    #[must_use]
    pub fn of(service: &Service, deployment: Option<&Deployment>, pods: &[Pod]) -> Self {
        let annotation = |name: &str| service.annotations().get(name).cloned();
        let time = |name: &str| annotation(name).and_then(|text| text.parse::<Timestamp>().ok());
        let ending = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        let pod = pods.iter().max_by_key(|pod| {
            (
                !ending(pod),
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            )
        });
        let spec = service.spec.clone().unwrap_or_default();
        let made = service.metadata.creation_timestamp.as_ref();
        let (state, status) = if service.metadata.deletion_timestamp.is_some() {
            (State::Ending, "Terminating".to_owned())
        } else {
            pod.map_or_else(|| without_pod(deployment), of_pod)
        };
        let pod_status = pod.and_then(|pod| pod.status.as_ref());
        Self {
            name: service
                .labels()
                .get(words::POD)
                .cloned()
                .unwrap_or_else(|| service.name_any()),
            namespace: service.namespace().unwrap_or_default(),
            state,
            status,
            cluster_ips: addresses(spec.cluster_ips.iter().flatten()),
            pod_ips: addresses(
                pod_status
                    .and_then(|status| status.pod_ips.as_ref())
                    .into_iter()
                    .flatten()
                    .map(|address| &address.ip),
            ),
            node: pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()),
            image: annotation(words::IMAGE).unwrap_or_default(),
            pod: pod.map(ResourceExt::name_any),
            restarts: pod
                .and_then(container)
                .map_or(0, |container| container.restart_count),
            user: annotation(words::USER).unwrap_or_else(|| "root".into()),
            host_key: annotation(words::HOST_KEY),
            created: time(words::CREATED).or(made.map(|time| time.0)),
            expires: time(words::EXPIRES),
            batch: service.labels().get(words::BATCH).cloned(),
            ports: spec
                .ports
                .iter()
                .flatten()
                .filter(|port| port.name.as_deref() != Some(words::SSH_PORT))
                .map(|port| match port.node_port {
                    Some(node) => format!("{}:{node}", port.port),
                    None => port.port.to_string(),
                })
                .collect(),
            labels: service
                .labels()
                .iter()
                .filter(|(name, _)| {
                    ![words::MANAGED_BY, words::NAME, words::POD, words::BATCH]
                        .contains(&name.as_str())
                })
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }
}

/// Can one log in to this Pod?
pub(crate) fn is_ready(pod: &Pod) -> bool {
    of_pod(pod).0 == State::Ready
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// The status of the container that one logs in to.
fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers
        .iter()
        .find(|container| container.name == words::CONTAINER)
}

fn without_pod(deployment: Option<&Deployment>) -> (State, String) {
    let Some(deployment) = deployment else {
        return (State::Starting, "Creating".into());
    };
    let conditions = deployment
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let refused = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    match refused {
        true => (State::Failing, "FailedCreate".into()),
        false => (State::Starting, "Creating".into()),
    }
}

/// As kubectl's column STATUS has it (`printPod` in pkg/printers/internalversion/printers.go), less what cannot be here.
fn of_pod(pod: &Pod) -> (State, String) {
    if pod.metadata.deletion_timestamp.is_some() {
        return (State::Starting, "Restarting".into());
    }
    let Some(status) = &pod.status else {
        return (State::Starting, "Pending".into());
    };
    let waits = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten()
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    match waits.as_deref() {
        Some("PodInitializing" | "ContainerCreating") | None => {}
        Some(reason) => return (State::Failing, reason.to_owned()),
    }
    let condition = |name: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions
            .find(|condition| condition.type_ == name)
            .cloned()
    };
    if condition("Ready").is_some_and(|ready| ready.status == "True") {
        return (State::Ready, "Running".into());
    }
    let unscheduled = condition("PodScheduled").filter(|scheduled| scheduled.status == "False");
    if let Some(reason) = unscheduled.and_then(|scheduled| scheduled.reason) {
        return (State::Failing, reason);
    }
    match status.phase.as_deref() {
        Some("Failed") => (
            State::Failing,
            status.reason.clone().unwrap_or_else(|| "Failed".into()),
        ),
        Some("Running") => (State::Starting, "NotReady".into()),
        Some("Pending") => (State::Starting, "ContainerCreating".into()),
        other => (State::Starting, other.unwrap_or("Pending").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {
                "name": "a", "namespace": "vial-pods",
                "labels": {"app.kubernetes.io/managed-by": "vial", "vial.dev/pod": "a", "team": "net"},
                "annotations": {"vial.dev/user": "ann", "vial.dev/image": "debian", "vial.dev/expires": "2026-11-21T12:00:00Z"},
            },
            "spec": {"clusterIPs": ["10.96.0.7", "fd00:10:96::7"], "ports": [
                {"name": "ssh", "port": 22}, {"name": "tcp-80", "port": 80, "nodePort": 30080}]},
        }))
        .unwrap()
    }

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a-1-x", "namespace": "vial-pods", "labels": {"vial.dev/pod": "a"}},
            "spec": {"nodeName": "w-1", "containers": []},
            "status": status,
        }))
        .unwrap()
    }

    fn state(status: serde_json::Value) -> (State, String) {
        let view = PodView::of(&service(), None, &[pod(status)]);
        (view.state, view.status)
    }

    #[test]
    fn a_service_alone_says_whose_it_is() {
        let view = PodView::of(&service(), None, &[]);
        assert_eq!((view.name.as_str(), view.user.as_str()), ("a", "ann"));
        assert_eq!(view.cluster_ips.len(), 2);
        assert_eq!(view.ports, ["80:30080"]);
        assert_eq!(view.labels.len(), 1);
        assert_eq!(view.state, State::Starting);
        assert!(view.expires.is_some());
    }

    #[test]
    fn a_pod_tells_its_state_in_the_words_of_kubernetes() {
        let ready =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(state(ready), (State::Ready, "Running".into()));
        let pulls = json!({"phase": "Pending", "containerStatuses": [{
            "name": "box", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull"}}}]});
        assert_eq!(state(pulls), (State::Failing, "ErrImagePull".into()));
        let nowhere = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]});
        assert_eq!(state(nowhere), (State::Failing, "Unschedulable".into()));
        let begins = json!({"phase": "Pending"});
        assert_eq!(state(begins), (State::Starting, "ContainerCreating".into()));
    }

    #[test]
    fn the_pod_that_stays_counts() {
        let mut old = pod(json!({"phase": "Running", "podIPs": [{"ip": "10.244.0.1"}]}));
        old.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-11-21T11:00:00Z")).unwrap();
        let new = pod(json!({"phase": "Pending", "podIPs": [{"ip": "10.244.0.2"}]}));
        let view = PodView::of(&service(), None, &[old, new]);
        assert_eq!(view.pod_ips, ["10.244.0.2".parse::<IpAddr>().unwrap()]);
    }
}
