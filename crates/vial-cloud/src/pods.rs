//! The pods of vial as they are: each one is a Service, a Deployment and at most a few Pods, seen together.

mod follow;
mod view;

use std::collections::BTreeMap;

use futures::try_join;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};

use crate::cloud::Cloud;
use crate::error::{Error, Result};
use crate::words;

pub use follow::{Known, changes, follow_services};
pub(crate) use view::is_ready;
pub use view::{PodView, State};

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One namespace.
    Namespace(String),
    /// All of them.
    All,
}

impl Scope {
    /// The API of a kind, as far as this reaches.
    #[must_use]
    pub fn api<K>(&self, client: &kube::Client) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
            Self::All => Api::all(client.clone()),
        }
    }
}

/// All pods of vial, by namespace and name.
///
/// # Errors
/// When the API does not let us list them.
pub async fn list(cloud: &Cloud, scope: &Scope) -> Result<Vec<PodView>> {
    let client = cloud.client();
    let params = ListParams::default().labels(words::SELECTOR);
    let (services, deployments, pods) = (
        scope.api::<Service>(client),
        scope.api::<Deployment>(client),
        scope.api::<Pod>(client),
    );
    let (services, deployments, pods) = try_join!(
        services.list(&params),
        deployments.list(&params),
        pods.list(&params)
    )
    .map_err(Error::api("cannot list pods"))?;
    Ok(join(services.items, deployments.items, pods.items))
}

/// All pods of vial as far as their Services tell: names, addresses, users, host keys, not their state.
///
/// # Errors
/// When the API does not let us list them.
pub async fn services(cloud: &Cloud, scope: &Scope) -> Result<Vec<PodView>> {
    let params = ListParams::default().labels(words::SELECTOR);
    let api = scope.api::<Service>(cloud.client());
    let services = api.list(&params).await;
    let services = services.map_err(Error::api("cannot list pods"))?;
    Ok(join(services.items, Vec::new(), Vec::new()))
}

/// Puts together what belongs together. A Deployment or Pod whose Service is gone is about to go too, and left out.
#[must_use]
pub fn join(services: Vec<Service>, deployments: Vec<Deployment>, pods: Vec<Pod>) -> Vec<PodView> {
    let mut by_pod: BTreeMap<(String, String), Vec<Pod>> = BTreeMap::new();
    for pod in pods {
        by_pod.entry(key(&pod)).or_default().push(pod);
    }
    let mut deployments: BTreeMap<_, _> = deployments
        .into_iter()
        .map(|deployment| (key(&deployment), deployment))
        .collect();
    let mut views: Vec<PodView> = services
        .into_iter()
        .map(|service| {
            let key = key(&service);
            let pods = by_pod.remove(&key).unwrap_or_default();
            PodView::of(&service, deployments.remove(&key).as_ref(), &pods)
        })
        .collect();
    views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    views
}

/// Namespace, and name of the pod of vial that an object belongs to.
fn key(object: &impl kube::ResourceExt) -> (String, String) {
    let name = object.labels().get(words::POD).cloned();
    (
        object.namespace().unwrap_or_default(),
        name.unwrap_or_else(|| object.name_any()),
    )
}
