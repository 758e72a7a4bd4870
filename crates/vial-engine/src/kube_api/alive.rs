//! What of a thawed cluster is true again: its objects tell of before until somebody has looked again.

use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt as _, watcher};

use crate::{Error, Result};

/// Waits until the node's kubelet has renewed its lease after `since`.
///
/// # Errors
/// When it has not within `timeout`.
pub async fn wait_node_reports(
    client: &kube::Client,
    name: &str,
    since: Timestamp,
    timeout: Duration,
) -> Result<()> {
    let api: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let renewed = |lease: Option<&Lease>| {
        let spec = lease.and_then(|lease| lease.spec.as_ref());
        let time = spec.and_then(|spec| spec.renew_time.as_ref());
        time.is_some_and(|time| time.0 > since)
    };
    match tokio::time::timeout(timeout, await_condition(api, name, renewed)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(late(format!("node {name} has not reported"), timeout)),
    }
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
