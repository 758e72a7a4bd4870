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

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::wait::await_condition;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use vial_sandbox::Sandbox;
use vial_spec::ClusterSpec;

use crate::{Error, Result, kube_api};

/// How long pods of the system may be on their way, as those of the check itself: `vial up` does not wait for the second one
/// of the DNS, which an emulated machine starts in some 20 s.
const SETTLING: Duration = pods::PATIENCE;

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
    let deployments = Api::<Deployment>::namespaced(client.clone(), "kube-system");
    let daemons = Api::<DaemonSet>::namespaced(client.clone(), "kube-system");
    let deployments = complete(&deployments, |deployment: &Deployment| {
        let (spec, status) = (deployment.spec.as_ref(), deployment.status.as_ref());
        let ready = status.and_then(|status| status.ready_replicas);
        let wanted = spec.and_then(|spec| spec.replicas);
        (ready.unwrap_or(0), wanted.unwrap_or(1))
    });
    let daemons = complete(&daemons, |daemon: &DaemonSet| {
        let status = daemon.status.as_ref();
        status.map_or((0, 1), |status| {
            (status.number_ready, status.desired_number_scheduled)
        })
    });
    let (mut outcomes, daemons) = tokio::join!(deployments, daemons);
    outcomes.extend(daemons);
    outcomes
}

/// Waits a little until as many pods of each object are ready as are wanted; `pods` tells (ready, wanted).
async fn complete<K>(api: &Api<K>, pods: impl Fn(&K) -> (i32, i32) + Copy) -> Vec<Outcome>
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let begun = Instant::now();
    let found = api.list(&ListParams::default()).await;
    let waiting = found.into_iter().flatten().map(|object| async move {
        let name = object.meta().name.clone().unwrap_or_default();
        let is_complete = |seen: Option<&K>| {
            seen.is_some_and(|seen| {
                let (ready, wanted) = pods(seen);
                ready >= wanted
            })
        };
        let settled = await_condition(api.clone(), &name, is_complete);
        let (ready, wanted) = match timeout(SETTLING, settled).await {
            Ok(Ok(Some(settled))) => pods(&settled),
            _ => pods(&api.get(&name).await.unwrap_or(object)),
        };
        Outcome {
            check: "system-pods",
            object: name,
            passed: ready >= wanted,
            detail: format!("{ready} of {wanted} ready"),
            millis: millis(begun),
        }
    });
    join_all(waiting).await
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
