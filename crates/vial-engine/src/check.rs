//! `vial check`: does the cluster do what clusters are for, on every node?
//!
//! ```text
//! node-ready     the Ready condition of every Node
//! system-pods    every Deployment and DaemonSet of kube-system is complete
//! dns, service   a pod on every node looks up the API's name and asks the API through its Service
//! node-service   every node itself reaches that Service
//! ```
//! The pods are vial's own (toolbox, one a node, in kube-system) and are removed at the end, also after a failure.

mod pods;

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use vial_sandbox::Sandbox;
use vial_spec::ClusterSpec;

use crate::{Error, Result, kube_api};

/// One check's outcome.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// `node-ready`, `system-pods`, `dns`, `service`, `node-service`.
    pub check: &'static str,
    /// On which node or of which object.
    pub object: String,
    /// Did it pass.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// Runs all checks at once and tells each outcome as it comes; true when all passed.
///
/// # Errors
/// When the API does not answer at all.
pub async fn check(
    client: &kube::Client,
    sandbox: &dyn Sandbox,
    spec: &ClusterSpec,
    tell: &(dyn Fn(Outcome) + Send + Sync),
) -> Result<bool> {
    let api: Api<Node> = Api::all(client.clone());
    let nodes = api
        .list(&ListParams::default())
        .await
        .map_err(Error::kube("cannot list the nodes"))?
        .items;
    let passed = std::sync::atomic::AtomicBool::new(true);
    let tell = |outcome: Outcome| {
        passed.fetch_and(outcome.passed, std::sync::atomic::Ordering::Relaxed);
        tell(outcome);
    };
    for node in &spec.nodes {
        let found = nodes
            .iter()
            .find(|found| found.metadata.name.as_deref() == Some(&node.name));
        let (passed, detail) = match found.map(kube_api::ready) {
            None => (false, "there is no such Node object".into()),
            Some(None) => (false, "its kubelet has not reported".into()),
            Some(Some((status, message))) => (status == "True", message),
        };
        tell(Outcome {
            check: "node-ready",
            object: node.name.clone(),
            passed,
            detail,
            millis: 0,
        });
    }
    let system = async {
        for outcome in system_pods(client).await {
            tell(outcome);
        }
    };
    let from_pods = join_all(spec.nodes.iter().map(|node| async {
        for outcome in pods::check(client, &node.name).await {
            tell(outcome);
        }
    }));
    let from_nodes = join_all(
        spec.nodes
            .iter()
            .map(|node| async { tell(node_service(sandbox, spec, &node.name).await) }),
    );
    tokio::join!(system, from_pods, from_nodes);
    Ok(passed.into_inner())
}

/// Every Deployment and DaemonSet of kube-system.
async fn system_pods(client: &kube::Client) -> Vec<Outcome> {
    let begun = Instant::now();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
    let daemons: Api<DaemonSet> = Api::namespaced(client.clone(), "kube-system");
    let params = ListParams::default();
    let (deployments, daemons) = tokio::join!(deployments.list(&params), daemons.list(&params));
    let mut seen = Vec::new();
    for deployment in deployments.into_iter().flatten() {
        let wanted = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let ready = deployment
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0);
        seen.push((deployment.metadata.name.unwrap_or_default(), ready, wanted));
    }
    for daemon in daemons.into_iter().flatten() {
        let status = daemon.status.unwrap_or_default();
        seen.push((
            daemon.metadata.name.unwrap_or_default(),
            status.number_ready,
            status.desired_number_scheduled,
        ));
    }
    let millis = millis(begun);
    seen.into_iter()
        .map(|(object, ready, wanted)| Outcome {
            check: "system-pods",
            object,
            passed: ready >= wanted,
            detail: format!("{ready} of {wanted} ready"),
            millis,
        })
        .collect()
}

/// The API's Service address, asked from a node itself.
async fn node_service(sandbox: &dyn Sandbox, spec: &ClusterSpec, node: &str) -> Outcome {
    let begun = Instant::now();
    let asked = async {
        let address = *spec
            .kubernetes_service_ips()
            .first()
            .ok_or("there is no service address")?;
        let url = format!("https://{}/livez", bracketed(address));
        // kube-proxy answers its probe before its first rules are there: a fresh node gets a few seconds.
        let retry =
            "--connect-timeout 2 --max-time 10 --retry 5 --retry-delay 1 --retry-all-errors";
        let mut argv = vec!["curl", "-sS", "--cacert", "/etc/kubernetes/pki/ca.crt"];
        argv.extend(retry.split(' '));
        argv.push(&url);
        let channel = sandbox
            .agent(&format!("{node}.node"))
            .await
            .map_err(|error| error.to_string())?;
        let output = vial_rpc::exec_collect(channel, argv, b"")
            .await
            .map_err(|error| error.to_string())?;
        match output.code {
            0 => Ok(format!("{url} answers")),
            code => Err(format!(
                "curl {url} ended with {code}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    };
    let (passed, detail) = match asked.await {
        Ok(detail) => (true, detail),
        Err(detail) => (false, detail),
    };
    Outcome {
        check: "node-service",
        object: node.to_owned(),
        passed,
        detail,
        millis: millis(begun),
    }
}

/// An address as it stands in a URL.
fn bracketed(address: IpAddr) -> String {
    let socket = SocketAddr::from((address, 443)).to_string();
    socket.trim_end_matches(":443").to_owned()
}

/// Milliseconds since.
fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
