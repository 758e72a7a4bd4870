//! Server-side apply of one object (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>).

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::Value;

use crate::cloud::Cloud;
use crate::error::{Error, Kind, Result};
use crate::words;

/// Applies an object of the kinds that pods of vial, and what they need of a cluster, are made of.
///
/// # Errors
/// When the API refuses it: [`Kind::NotPermitted`] without the right.
pub async fn apply(cloud: &Cloud, object: Value) -> Result<DynamicObject> {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let name = object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    let resource = match kind.as_str() {
        "Service" => ApiResource::erase::<Service>(&()),
        "Secret" => ApiResource::erase::<Secret>(&()),
        "ConfigMap" => ApiResource::erase::<ConfigMap>(&()),
        "PersistentVolumeClaim" => ApiResource::erase::<PersistentVolumeClaim>(&()),
        "Namespace" => ApiResource::erase::<Namespace>(&()),
        "Deployment" => ApiResource::erase::<Deployment>(&()),
        "Job" => ApiResource::erase::<Job>(&()),
        "Role" => ApiResource::erase::<Role>(&()),
        "RoleBinding" => ApiResource::erase::<RoleBinding>(&()),
        other => {
            let what = format!("objects of kind {other} are not applied");
            return Err(Error::new(Kind::Failed, what));
        }
    };
    let client = cloud.client().clone();
    let api: Api<DynamicObject> = match &namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let params = PatchParams::apply(words::MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(&object))
        .await
        .map_err(|error| refused(&kind, namespace.as_deref(), &name, error))
}

fn refused(kind: &str, namespace: Option<&str>, name: &str, error: kube::Error) -> Error {
    let place = namespace.map(|namespace| format!(" in namespace {namespace}"));
    let what = format!("cannot make {kind} {name}{}", place.unwrap_or_default());
    let text = error.to_string();
    let made = Error::of_api(what, error);
    if text.contains("failed to allocate") || text.contains("range is full") {
        return made.hinted("the cluster has no free ClusterIP: remove Services that are not needed (`kubectl get svc -A`)");
    }
    if text.contains("exceeded quota") {
        return made.hinted("the namespace's quota is used up: `kubectl describe quota` shows it, `vial pod rm` frees some");
    }
    made
}
