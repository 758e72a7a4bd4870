//! Making, changing and removing pods.
//!
//! ```text
//!  look (is it there? is it vial's? what was asked for?) ──► refuse, or:
//!  namespace ─► Service ─► Secret, claims, …, Deployment ─► wait by watches ─► ready
//!     └──────────── what was new goes again ◄──────────────── trouble, in one line
//! ```
//! Every step may be repeated: a `create` that was killed is finished by the next one.

mod apply;
mod before;
mod log;
mod make;
mod namespace;
mod remove;
mod restart;
mod timer;
mod trouble;
mod wait;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::cloud::Cloud;
use crate::error::{Error, Kind, Result};
use crate::plan::PodOptions;
use crate::words;

pub use apply::apply;
pub use before::Before;
pub use log::last_words;
pub use make::{make, make_parts, objects};
pub use namespace::ensure as ensure_namespace;
pub use remove::{remove, remove_namespace, wait_gone};
pub use restart::restart;
pub use wait::{Progress, Waiting, wait_ready};

/// A pod that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// All that was asked for, defaults filled in.
    pub options: PodOptions,
    /// The batch it belongs to.
    pub batch: Option<String>,
}

/// Who may log in to pods that are made now.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Lines of authorized_keys(5).
    pub authorized_keys: String,
}

/// The names of the Pods that are there now, by the pod of vial they belong to.
///
/// # Errors
/// When the API does not let us list them.
pub async fn running(cloud: &Cloud, namespace: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let pods: Api<Pod> = Api::namespaced(cloud.client().clone(), namespace);
    let params = ListParams::default().labels(words::SELECTOR);
    let what = format!("cannot list the Pods of namespace {namespace}");
    let listed = pods
        .list_metadata(&params)
        .await
        .map_err(Error::api(what))?;
    let mut running: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in listed {
        let name = pod.labels().get(words::POD).cloned().unwrap_or_default();
        running.entry(name).or_default().push(pod.name_any());
    }
    Ok(running)
}

/// Refuses nodes that are not there. Who may not look at nodes is believed.
///
/// # Errors
/// When a node is not there, with the names of those that are.
pub async fn check_nodes(cloud: &Cloud, names: impl Iterator<Item = &str>) -> Result<()> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    let nodes: Api<Node> = Api::all(cloud.client().clone());
    let nodes = match nodes.list_metadata(&ListParams::default()).await {
        Ok(nodes) => nodes,
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(()),
        Err(error) => return Err(Error::of_api("cannot list the nodes".into(), error)),
    };
    let there: Vec<String> = nodes.iter().map(kube::ResourceExt::name_any).collect();
    match names
        .iter()
        .find(|name| !there.iter().any(|node| node == *name))
    {
        None => Ok(()),
        Some(name) => Err(
            Error::new(Kind::NotFound, format!("the cluster has no node {name}"))
                .hinted(format!("there is {}", there.join(", "))),
        ),
    }
}
