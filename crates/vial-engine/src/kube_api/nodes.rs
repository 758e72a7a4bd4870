//! Node objects: made before the kubelet registers, so that addresses of pods, labels and taints are there from the
//! first moment, and kept as wanted without touching what others put there.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use vial_spec::{ClusterSpec, NodeConfig};

use crate::{Error, Result};

/// Remembers on the Node what vial set, so that a later change can take it back.
const APPLIED: &str = "vial.dev/applied";

/// Makes the Node object, or brings labels, taints and pod CIDRs of an existing one to what is wanted.
///
/// # Errors
/// When the API refuses.
pub async fn ensure_node(
    client: &kube::Client,
    spec: &ClusterSpec,
    node: &NodeConfig,
) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let operation = format!("cannot make the object of node {}", node.name);
    match api
        .get_opt(&node.name)
        .await
        .map_err(Error::kube(&operation))?
    {
        None => {
            let object =
                serde_json::from_value(new_node(spec, node)).map_err(|source| Error::Damaged {
                    path: node.name.clone().into(),
                    source,
                })?;
            match api.create(&PostParams::default(), &object).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    return Box::pin(ensure_node(client, spec, node)).await;
                }
                created => created.map_err(Error::kube(&operation))?,
            };
            let addresses = Patch::Merge(addresses(spec, node));
            api.patch_status(&node.name, &PatchParams::default(), &addresses)
                .await
                .map(|_| ())
                .map_err(Error::kube(operation))
        }
        Some(existing) => match patch(&existing, spec, node) {
            Some(patch) => {
                let patch = Patch::Merge(patch);
                api.patch(&node.name, &PatchParams::default(), &patch)
                    .await
                    .map(|_| ())
                    .map_err(Error::kube(operation))
            }
            None => Ok(()),
        },
    }
}

fn wanted_labels(node: &NodeConfig) -> BTreeMap<String, String> {
    let mut labels = node.labels.clone();
    labels.insert("kubernetes.io/hostname".into(), node.name.clone());
    labels
}

fn applied(node: &NodeConfig) -> String {
    json!({"labels": wanted_labels(node).keys().collect::<Vec<_>>(), "taints": node.taints})
        .to_string()
}

fn new_node(spec: &ClusterSpec, node: &NodeConfig) -> Value {
    let cidrs: Vec<_> = spec
        .node_pod_cidrs(node)
        .iter()
        .map(ToString::to_string)
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": wanted_labels(node),
            "annotations": {APPLIED: applied(node)},
        },
        "spec": {"podCIDR": cidrs.first(), "podCIDRs": cidrs, "taints": node.taints},
    })
}

/// The addresses that the kubelet will report (a merge patch of the status): kube-proxy, which asks for them once a
/// second, finds them at its first question.
fn addresses(spec: &ClusterSpec, node: &NodeConfig) -> Value {
    let addresses = node.addresses(spec.network.ip_family);
    let mut addresses: Vec<_> = addresses
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .collect();
    addresses.push(json!({"type": "Hostname", "address": node.name}));
    json!({"status": {"addresses": addresses}})
}

/// What has to change on an existing Node (a merge patch, RFC 7386), or `None`.
fn patch(existing: &Node, spec: &ClusterSpec, node: &NodeConfig) -> Option<Value> {
    let annotations = existing.metadata.annotations.clone().unwrap_or_default();
    let before: Value = annotations
        .get(APPLIED)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let spec_before = existing.spec.clone().unwrap_or_default();
    let mut patch = json!({});
    if annotations.get(APPLIED) != Some(&applied(node)) {
        let wanted = wanted_labels(node);
        let mut labels = json!(wanted);
        let old_keys = before["labels"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        for key in old_keys.filter(|key| !wanted.contains_key(*key)) {
            labels[key] = Value::Null;
        }
        // Taints are one list: keep those that vial did not set.
        let ours: Vec<_> = before["taints"].as_array().cloned().unwrap_or_default();
        let is_ours = |taint: &Value| {
            ours.iter()
                .any(|our| our["key"] == taint["key"] && our["effect"] == taint["effect"])
        };
        let mut taints: Vec<Value> = spec_before
            .taints
            .iter()
            .flatten()
            .map(|taint| json!(taint))
            .collect();
        taints.retain(|taint| !is_ours(taint));
        taints.extend(node.taints.iter().map(|taint| json!(taint)));
        patch = json!({
            "metadata": {"labels": labels, "annotations": {APPLIED: applied(node)}},
            "spec": {"taints": taints},
        });
    }
    if spec_before.pod_cidr.is_none() {
        let cidrs: Vec<_> = spec
            .node_pod_cidrs(node)
            .iter()
            .map(ToString::to_string)
            .collect();
        patch["spec"]["podCIDR"] = json!(cidrs.first());
        patch["spec"]["podCIDRs"] = json!(cidrs);
    }
    (patch != json!({})).then_some(patch)
}

/// Removes the Node object; fine when it is gone.
///
/// # Errors
/// When the API refuses.
pub async fn delete_node(client: &kube::Client, name: &str) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::kube(format!(
            "cannot delete the object of node {name}"
        ))(error)),
    }
}

/// Waits until the Node's Ready condition is True.
///
/// # Errors
/// When it is not within `timeout`; the message carries the condition's own.
pub async fn wait_node_ready(client: &kube::Client, name: &str, timeout: Duration) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let is_ready = |node: Option<&Node>| {
        node.and_then(ready)
            .is_some_and(|condition| condition.0 == "True")
    };
    match tokio::time::timeout(timeout, await_condition(api.clone(), name, is_ready)).await {
        Ok(Ok(_)) => Ok(()),
        // A watch that broke is a symptom; what the node says is the news.
        Ok(Err(_)) | Err(_) => {
            let seen = api.get_opt(name).await.ok().flatten();
            let detail = match seen.as_ref().map(ready) {
                None => ": it did not register".to_owned(),
                Some(None) => ": it has not reported yet".to_owned(),
                Some(Some((_, message))) => format!(": {message}"),
            };
            Err(Error::Timeout {
                what: format!("node {name} is not Ready"),
                seconds: timeout.as_secs(),
                detail,
            })
        }
    }
}

/// The Ready condition's status and message.
#[must_use]
pub fn ready(node: &Node) -> Option<(String, String)> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")?;
    Some((
        condition.status.clone(),
        condition.message.clone().unwrap_or_default(),
    ))
}
