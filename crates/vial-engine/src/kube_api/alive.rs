//! What of a thawed cluster is true again: its objects tell of before until somebody has looked again.

use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt as _, watcher};

use crate::{Error, Result};

/// Waits until the node's kubelet has said after `since` that it is ready. Its lease tells less: it is renewed before the
/// kubelet has asked its container runtime.
///
/// # Errors
/// When it has not within `timeout`.
pub async fn wait_node_reports(
    client: &kube::Client,
    name: &str,
    since: Timestamp,
    timeout: Duration,
) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let reported = |node: Option<&Node>| node.is_some_and(|node| says_ready(node, since));
    match tokio::time::timeout(timeout, await_condition(api, name, reported)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(late(
            format!("node {name} has not reported that it is Ready"),
            timeout,
        )),
    }
}

/// Is its condition Ready true, as of a moment after `since`? The API counts in seconds.
fn says_ready(node: &Node, since: Timestamp) -> bool {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|condition| {
        let heard = condition.last_heartbeat_time.as_ref();
        let is_new = heard.is_some_and(|time| time.0.as_second() >= since.as_second());
        condition.type_ == "Ready" && condition.status == "True" && is_new
    })
}

/// Waits until a pod of the cluster's DNS is ready whose container was started after `since`: names are answered from
/// then on.
///
/// # Errors
/// When there is none within `timeout`.
pub async fn wait_dns_runs(
    client: &kube::Client,
    since: Timestamp,
    timeout: Duration,
) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let pods = watcher(api, watcher::Config::default().labels("k8s-app=kube-dns"));
    // A watch that broke is made again.
    let mut pods = std::pin::pin!(pods.default_backoff().applied_objects());
    let waiting = async {
        loop {
            match pods.try_next().await {
                Ok(Some(pod)) if runs(&pod, since) => return,
                Ok(None) => std::future::pending().await,
                Ok(Some(_)) | Err(_) => {}
            }
        }
    };
    let waited = tokio::time::timeout(timeout, waiting).await;
    waited.map_err(|_| late("no pod of the cluster's DNS is ready".into(), timeout))
}

/// Is its container ready, and was it started after `since`? The API counts in seconds.
fn runs(pod: &Pod, since: Timestamp) -> bool {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref());
    let mut containers = containers.unwrap_or_default().iter();
    containers.any(|container| {
        let running = container
            .state
            .as_ref()
            .and_then(|state| state.running.as_ref());
        let started = running.and_then(|running| running.started_at.as_ref());
        let is_new = started.is_some_and(|time| time.0.as_second() >= since.as_second());
        container.ready && is_new
    })
}

fn late(what: String, timeout: Duration) -> Error {
    Error::Timeout {
        what,
        seconds: timeout.as_secs(),
        detail: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn news_of_before_the_thaw_do_not_count() {
        let since: Timestamp = "2026-11-30T10:00:00.5Z".parse().unwrap();
        for (status, heard, expected) in [
            ("True", "2026-11-30T09:59:59Z", false),
            ("True", "2026-11-30T10:00:00Z", true),
            ("False", "2026-11-30T10:00:07Z", false),
        ] {
            let node = json!({"status": {"conditions": [
                {"type": "DiskPressure", "status": "True", "lastHeartbeatTime": "2026-11-30T10:00:07Z"},
                {"type": "Ready", "status": status, "lastHeartbeatTime": heard},
            ]}});
            let node: Node = serde_json::from_value(node).unwrap();
            assert_eq!(says_ready(&node, since), expected, "{status} {heard}");
        }
        for (ready, started, expected) in [
            (true, "2026-11-30T09:00:00Z", false),
            (false, "2026-11-30T10:00:02Z", false),
            (true, "2026-11-30T10:00:02Z", true),
        ] {
            let container = json!({
                "name": "coredns", "image": "coredns", "imageID": "", "restartCount": 1, "ready": ready,
                "state": {"running": {"startedAt": started}},
            });
            let pod = json!({"status": {"containerStatuses": [container]}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(runs(&pod, since), expected, "{ready} {started}");
        }
    }
}
