//! When an API server that starts can be used.

use std::time::Duration;

use http::Request;

/// All of readiness but two hooks that wait for a second before they do anything: the default roles of RBAC, and the
/// priority classes (`pkg/registry/{rbac,scheduling}/rest` of Kubernetes; [API health endpoints] for `exclude`).
///
/// [API health endpoints]: https://kubernetes.io/docs/reference/using-api/health-checks/
const SERVING: &str = "/readyz?exclude=poststarthook/rbac/bootstrap-roles&exclude=poststarthook/scheduling/bootstrap-system-priority-classes";

/// Between two questions; nobody tells.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until the API takes objects from an administrator, and reports of nodes. Others are refused until it is ready,
/// since their rights are not there yet.
pub async fn wait_serving(client: &kube::Client) {
    loop {
        let request = Request::get(SERVING).body(Vec::new());
        let request = request.expect("a path without anything to escape");
        if client.request_text(request).await.is_ok() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
