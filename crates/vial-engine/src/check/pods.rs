//! One pod on a node that looks up a name and asks a service, and tells what it saw as its termination message.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::json;

use super::{Outcome, millis};

/// For the pod from creation to its end.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Each line of the message is `CHECK pass|fail DETAIL`.
///
/// A name has some seconds to be found: on a node that has just started, kube-proxy learns one by one which pods are there,
/// and until then the address of the DNS refuses.
const SCRIPT: &str = r#"
name=kubernetes.default.svc.cluster.local
found() { answer=$(dig +short +time=2 +tries=2 $name A $name AAAA 2>&1) && [ -n "$answer" ] && [[ $answer != *";;"* ]]; }
dns="fail $name:"
while ((SECONDS < 15)); do
    if found; then dns="pass $name is"; break; fi
    sleep 1
done
echo "dns $dns" $answer >> /dev/termination-log
token=/var/run/secrets/kubernetes.io/serviceaccount
if answer=$(curl -sS --max-time 10 --cacert $token/ca.crt https://$name/livez 2>&1) && [ "$answer" = ok ]
then echo "service pass https://$name/livez answers"; else echo "service fail https://$name/livez:" $answer; fi >> /dev/termination-log
"#;

/// Runs the pod on a node; one outcome a check.
pub(super) async fn check(client: &kube::Client, node: &str) -> Vec<Outcome> {
    let begun = Instant::now();
    let api: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let outcome = run(&api, node).await;
    let millis = millis(begun);
    match outcome {
        Ok(message) => ["dns", "service"]
            .map(|check| line(&message, check, node, millis))
            .into(),
        Err(detail) => vec![Outcome {
            check: "dns",
            object: node.to_owned(),
            passed: false,
            detail,
            millis,
        }],
    }
}

fn line(message: &str, check: &'static str, node: &str, millis: u64) -> Outcome {
    let found = message
        .lines()
        .find_map(|line| line.strip_prefix(check)?.trim_start().split_once(' '));
    let (verdict, detail) = found.unwrap_or(("fail", "the pod said nothing of it"));
    Outcome {
        check,
        object: node.to_owned(),
        passed: verdict == "pass",
        detail: detail.to_owned(),
        millis,
    }
}

async fn run(api: &Api<Pod>, node: &str) -> Result<String, String> {
    let pod: Pod = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": format!("vial-check-{node}-"), "labels": {"app.kubernetes.io/name": "vial-check"}},
        "spec": {
            // Placed by hand: a node that refuses new pods is checked as well.
            "nodeName": node,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": "check",
                "image": "docker.io/vial/toolbox:latest",
                "imagePullPolicy": "IfNotPresent",
                "command": ["bash", "-c", SCRIPT],
            }],
        },
    }))
    .map_err(|error| error.to_string())?;
    let made = api
        .create(&PostParams::default(), &pod)
        .await
        .map_err(|error| format!("cannot make a pod: {error}"))?;
    let name = made.metadata.name.unwrap_or_default();
    let ended =
        |pod: Option<&Pod>| pod.is_none_or(|pod| matches!(phase(pod), "Succeeded" | "Failed"));
    let waited = tokio::time::timeout(PATIENCE, await_condition(api.clone(), &name, ended)).await;
    let seen = match waited {
        Ok(Ok(pod)) => pod,
        _ => api.get_opt(&name).await.ok().flatten(),
    };
    let _ = api
        .delete(&name, &DeleteParams::default().grace_period(0))
        .await;
    let pod = seen.ok_or_else(|| format!("pod kube-system/{name} disappeared"))?;
    message(&pod).ok_or_else(|| {
        format!(
            "pod kube-system/{name} is {}: {}",
            phase(&pod),
            waiting(&pod)
        )
    })
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or("Pending")
}

fn message(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses
        .first()?
        .state
        .as_ref()?
        .terminated
        .as_ref()?
        .message
        .clone()
}

/// Why the container does not run.
fn waiting(pod: &Pod) -> String {
    let state = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref()?.first()?.state.clone());
    let waiting = state.and_then(|state| state.waiting);
    waiting.map_or_else(
        || "its container has not ended".into(),
        |waiting| {
            format!(
                "{} {}",
                waiting.reason.unwrap_or_default(),
                waiting.message.unwrap_or_default()
            )
        },
    )
}
