//! Connections to what is in the cluster: which addresses a target has now, and from whose network they are dialled.
//!
//! ```text
//! svc/default/web:http ──look up──► Service ──ways (pure)──► 10.96.3.7:80 from cp-1, … ──dial, in order──► a stream
//! ```
//! Asked by `GET /v1/connect` (`vial netcat`, ssh) for one connection each; forwarded ports keep their target looked up
//! ([`follow`]) and only dial.

pub(crate) mod follow;
mod names;
mod unreachable;
pub(crate) mod way;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use vial_sandbox::{Connection, Sandbox};
use vial_spec::ClusterSpec;
use vial_spec::names::did_you_mean;
use vial_spec::target::{Target, TargetPort};

pub(crate) use unreachable::Unreachable;
use way::{ServiceWays, Way};

/// How long one address may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is needed to reach into a cluster.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) client: kube::Client,
    /// The cluster as it is wanted.
    pub(crate) wanted: watch::Receiver<Arc<ClusterSpec>>,
}

impl Reach {
    /// The cluster as it is wanted now.
    pub(crate) fn spec(&self) -> Arc<ClusterSpec> {
        Arc::clone(&self.wanted.borrow())
    }

    /// A connection to a target, looked up at this moment.
    pub(crate) async fn connect(
        &self,
        target: &Target,
        port: &TargetPort,
    ) -> Result<Connection, Unreachable> {
        let ways = self.ways(target, port).await?;
        self.dial(&ways, || format!("{target}:{port}")).await
    }

    /// The ways to a target at this moment, the best first.
    pub(crate) async fn ways(
        &self,
        target: &Target,
        port: &TargetPort,
    ) -> Result<Vec<Way>, Unreachable> {
        let spec = &*self.spec();
        match target {
            Target::Node(node) => way::to_node(spec, node, port),
            Target::Address(address) => way::to_address(spec, *address, port),
            Target::Service { namespace, name } => {
                let service = self.get::<Service>(namespace, name).await?;
                self.service_ways(target, &service, port).await
            }
            Target::Pod { namespace, name } => {
                way::to_pod(spec, &self.get::<Pod>(namespace, name).await?, port)
            }
            Target::Name(name) => match names::meaning(name, &spec.name)? {
                names::Meaning::Target(target) => Box::pin(self.ways(&target, port)).await,
                names::Meaning::Ask => {
                    let port = way::number(target, port)?;
                    let addresses = names::ask(self.sandbox.as_ref(), spec, name).await?;
                    let from_node = |address| way::from_control_plane(spec, address, port);
                    Ok(addresses.into_iter().map(from_node).collect())
                }
            },
        }
    }

    /// The ways to a Service that was looked up; one without an address of its own is asked for its endpoints.
    pub(crate) async fn service_ways(
        &self,
        target: &Target,
        service: &Service,
        port: &TargetPort,
    ) -> Result<Vec<Way>, Unreachable> {
        match way::to_service(&self.spec(), target, service, port)? {
            ServiceWays::Virtual(ways) => Ok(ways),
            ServiceWays::Headless(port) => {
                let namespace = service.namespace().unwrap_or_default();
                let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &namespace);
                let selector = format!("kubernetes.io/service-name={}", service.name_any());
                let slices = api.list(&ListParams::default().labels(&selector)).await;
                let slices = slices.map_err(Unreachable::api(target))?;
                way::to_endpoints(&self.spec(), target, &slices.items, &port)
            }
        }
    }

    /// Dials one way after the other, until one is answered; the error is that of the first.
    pub(crate) async fn dial(
        &self,
        ways: &[Way],
        what: impl Fn() -> String,
    ) -> Result<Connection, Unreachable> {
        let mut first = None;
        for way in ways {
            let dialling = self.sandbox.dial(way.from.network(), way.address);
            let error = match tokio::time::timeout(PATIENCE, dialling).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => Unreachable::dial(what(), &error),
                Err(_) => Unreachable::silent(what(), PATIENCE),
            };
            first.get_or_insert(error);
        }
        Err(first.unwrap_or_else(|| Unreachable::without_address(what())))
    }

    async fn get<K>(&self, namespace: &str, name: &str) -> Result<K, Unreachable>
    where
        K: Kind,
    {
        let target = K::target(namespace, name);
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match api.get_opt(name).await.map_err(Unreachable::api(&target))? {
            Some(object) => Ok(object),
            None => Err(Unreachable::Unknown {
                what: format!("{target} does not exist"),
                hint: self.near::<K>(namespace, name).await,
            }),
        }
    }

    /// What was probably meant, or else what there is.
    async fn near<K: Kind>(&self, namespace: &str, name: &str) -> Option<String> {
        let all = self.names::<K>().await?;
        if let Some(hint) = probably::<K>(&all, namespace, name) {
            return Some(hint);
        }
        let here = in_namespace::<K>(&all, namespace);
        if !here.is_empty() {
            return Some(format!("there is {}", here[..here.len().min(8)].join(", ")));
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespaces = api.list_metadata(&ListParams::default()).await.ok()?.items;
        let names: Vec<String> = namespaces.iter().map(ResourceExt::name_any).collect();
        if names.iter().any(|known| known == namespace) {
            return Some(format!("namespace {namespace:?} has none"));
        }
        Some(match did_you_mean(namespace, &names) {
            Some(hint) => format!("there is no namespace {namespace:?}; {hint}"),
            None => format!("there is no namespace {namespace:?}"),
        })
    }

    /// Namespace and name of all objects of a kind.
    async fn names<K: Kind>(&self) -> Option<Vec<(String, String)>> {
        let api: Api<K> = Api::all(self.client.clone());
        let objects = api.list_metadata(&ListParams::default()).await.ok()?.items;
        let names = objects
            .iter()
            .map(|object| (object.namespace().unwrap_or_default(), object.name_any()));
        Some(names.collect())
    }
}

/// What was probably meant: another name in that namespace, or the name in another one.
fn probably<K: Kind>(all: &[(String, String)], namespace: &str, name: &str) -> Option<String> {
    let wanted = K::target(namespace, name).to_string();
    did_you_mean(&wanted, &in_namespace::<K>(all, namespace)).or_else(|| {
        let (elsewhere, _) = all.iter().find(|(_, other)| other == name)?;
        Some(format!(
            "did you mean {:?}?",
            K::target(elsewhere, name).to_string()
        ))
    })
}

fn in_namespace<K: Kind>(all: &[(String, String)], namespace: &str) -> Vec<String> {
    let here = all.iter().filter(|(other, _)| other == namespace);
    here.map(|(namespace, name)| K::target(namespace, name).to_string())
        .collect()
}

/// A kind of object that a target names.
trait Kind:
    Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
{
    /// The target that names an object of this kind.
    fn target(namespace: &str, name: &str) -> Target;
}

impl Kind for Service {
    fn target(namespace: &str, name: &str) -> Target {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Target::Service { namespace, name }
    }
}

impl Kind for Pod {
    fn target(namespace: &str, name: &str) -> Target {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Target::Pod { namespace, name }
    }
}
