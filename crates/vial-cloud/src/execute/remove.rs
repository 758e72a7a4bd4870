//! Removing pods: the Service goes, and everything that it owns with it.

use std::collections::BTreeSet;
use std::pin::pin;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, Service};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use kube::runtime::watcher::{self, Event, watcher};

use crate::cloud::Cloud;
use crate::error::{Error, Result};
use crate::words;

/// Asks for the removal of a pod; [`wait_gone`] waits for it. What is not there any more is no error.
///
/// # Errors
/// When the API refuses it.
pub async fn remove(cloud: &Cloud, namespace: &str, name: &str) -> Result<()> {
    let client = || cloud.client().clone();
    let background = DeleteParams::background();
    let deployments: Api<Deployment> = Api::namespaced(client(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client(), namespace);
    let services: Api<Service> = Api::namespaced(client(), namespace);
    let what = || format!("cannot remove pod {name} of namespace {namespace}");
    // The Service last: as long as it is there the pod is listed, and a removal that was cut off can be run again. All that
    // it owns goes with it; the others are asked to go at once for the sake of time, by who may.
    let _ = deployments.delete(name, &background).await;
    let _ = secrets.delete(&words::ssh_secret(name), &background).await;
    gone(services.delete(name, &background).await.map(drop), what)
}

fn gone(done: Result<(), kube::Error>, what: impl FnOnce() -> String) -> Result<()> {
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        done => done.map_err(Error::api(what())),
    }
}

/// Waits until nothing of these pods is there any more: no Service, no Pod.
///
/// # Errors
/// When the API does not let us look.
pub async fn wait_gone(cloud: &Cloud, namespace: &str, names: &[String]) -> Result<()> {
    let services: Api<Service> = Api::namespaced(cloud.client().clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(cloud.client().clone(), namespace);
    futures::try_join!(none_of(services, names), none_of(pods, names))?;
    Ok(())
}

/// Waits until there is no object of these pods, by a watch.
async fn none_of<K>(api: Api<K>, names: &[String]) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + 'static,
    K: serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    let config = watcher::Config::default().labels(words::SELECTOR);
    let mut events = pin!(watcher(api, config));
    let mut there: BTreeSet<String> = BTreeSet::new();
    let concerns = |object: &K| {
        let pod = object.labels().get(words::POD);
        pod.is_some_and(|pod| names.contains(pod))
    };
    while let Some(event) = events.next().await {
        match event.map_err(|error| {
            Error::new(crate::Kind::Failed, "cannot watch what is removed").caused(error)
        })? {
            Event::Init => {
                there.clear();
                continue;
            }
            Event::InitApply(object) | Event::Apply(object) => {
                if concerns(&object) {
                    there.insert(object.name_any());
                }
                continue;
            }
            Event::InitDone => {}
            Event::Delete(object) => {
                there.remove(&object.name_any());
            }
        }
        if there.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

/// Removes the namespace if vial made it and no Service, Pod or claim is in it.
///
/// # Errors
/// When the API refuses it.
pub async fn remove_namespace(cloud: &Cloud, name: &str) -> Result<bool> {
    let namespaces: Api<Namespace> = Api::all(cloud.client().clone());
    let what = || format!("cannot remove namespace {name}");
    let Some(namespace) = namespaces.get_opt(name).await.map_err(Error::api(what()))? else {
        return Ok(false);
    };
    if !words::is_ours(&namespace) {
        return Ok(false);
    }
    let params = ListParams::default().limit(1);
    let services: Api<Service> = Api::namespaced(cloud.client().clone(), name);
    let pods: Api<Pod> = Api::namespaced(cloud.client().clone(), name);
    let claims: Api<k8s_openapi::api::core::v1::PersistentVolumeClaim> =
        Api::namespaced(cloud.client().clone(), name);
    let (services, pods, claims) = futures::try_join!(
        services.list_metadata(&params),
        pods.list_metadata(&params),
        claims.list_metadata(&params)
    )
    .map_err(Error::api(what()))?;
    if !(services.items.is_empty() && pods.items.is_empty() && claims.items.is_empty()) {
        return Ok(false);
    }
    gone(
        namespaces
            .delete(name, &DeleteParams::background())
            .await
            .map(drop),
        what,
    )?;
    Ok(true)
}
