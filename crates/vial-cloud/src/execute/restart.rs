//! A fresh Pod in the place of the one that runs.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};

use crate::cloud::Cloud;
use crate::error::{Error, Result};
use crate::words;

/// Deletes the Pods of a pod of vial; the Deployment makes a fresh one. Returns the names of those that go.
///
/// # Errors
/// When the API refuses it.
pub async fn restart(cloud: &Cloud, namespace: &str, name: &str) -> Result<Vec<String>> {
    let pods: Api<Pod> = Api::namespaced(cloud.client().clone(), namespace);
    let what = || format!("cannot restart pod {name} of namespace {namespace}");
    let params = ListParams::default().labels(&format!("{}={name}", words::POD));
    let running = pods.list(&params).await.map_err(Error::api(what()))?;
    let mut deleted = Vec::new();
    for pod in running {
        let old = pod.name_any();
        match pods.delete(&old, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            done => drop(done.map_err(Error::api(what()))?),
        }
        deleted.push(old);
    }
    Ok(deleted)
}
