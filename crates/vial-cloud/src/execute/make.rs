//! The objects of a pod, applied: the Service first, then what it owns, and what ends it.

use futures::future::try_join_all;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::{Value, json};

use super::{Wish, apply, timer};
use crate::cloud::Cloud;
use crate::error::{Error, Result};
use crate::plan::{Identity, Means, Objects, Parts, Timer, Wanted};
use crate::words;

/// The objects of a pod, with nothing done.
#[must_use]
pub fn objects(
    namespace: &str,
    wish: &Wish,
    identity: &Identity,
    means: &Means,
    without_entry: bool,
) -> Objects {
    let wanted = Wanted {
        name: &wish.name,
        namespace,
        options: &wish.options,
        identity,
        means,
        batch: wish.batch.as_deref(),
        without_entry,
    };
    wanted.objects()
}

/// Applies the objects of a pod; whether it becomes ready is another question.
///
/// # Errors
/// When the API refuses one of them; what was made before stays, for [`remove`].
pub async fn make(
    cloud: &Cloud,
    namespace: &str,
    wish: &Wish,
    identity: &Identity,
    means: &Means,
    without_entry: bool,
) -> Result<()> {
    let objects = objects(namespace, wish, identity, means, without_entry);
    let root = apply(cloud, objects.service.clone()).await?;
    let owner = owner("v1", "Service", &root);
    let others = try_join_all(objects.others.into_iter().map(|mut object| {
        object["metadata"]["ownerReferences"] = json!([owner]);
        apply(cloud, object)
    }));
    let ended = end_in_time(cloud, namespace, objects.service, objects.timer, &owner);
    futures::try_join!(others, ended)?;
    Ok(())
}

/// Gives the pod to what ends it, or takes that away. The Service as applied before belongs to nothing.
async fn end_in_time(
    cloud: &Cloud,
    namespace: &str,
    mut service: Value,
    timer: Option<Timer>,
    owner: &Value,
) -> Result<()> {
    let name = owner["name"].as_str().unwrap_or_default();
    let Some(timer) = timer else {
        return timer::stop(cloud, namespace, name).await;
    };
    let job = timer::start(cloud, namespace, name, &timer, owner).await?;
    service["metadata"]["ownerReferences"] = json!([self::owner("batch/v1", "Job", &job)]);
    apply(cloud, service).await?;
    Ok(())
}

fn owner(version: &str, kind: &str, object: &DynamicObject) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "name": object.name_any(),
        "uid": object.uid().unwrap_or_default(),
    })
}

/// Applies the ConfigMaps of the ssh server, for all pods of the namespace.
///
/// # Errors
/// When the API refuses one.
pub async fn make_parts(cloud: &Cloud, namespace: &str, parts: &Parts) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(cloud.client().clone(), namespace);
    // Their names change with their content, so those that are there need not be sent again.
    let labels = ListParams::default().labels("vial.dev/sshd");
    let what = format!("cannot list the ConfigMaps of namespace {namespace}");
    let there = maps
        .list_metadata(&labels)
        .await
        .map_err(Error::api(what))?;
    let there: Vec<String> = there.iter().map(kube::ResourceExt::name_any).collect();
    let missing = (0..parts.parts.len()).filter(|index| !there.contains(&parts.map_name(*index)));
    try_join_all(missing.map(|index| {
        let content = ByteString(parts.parts[index].clone());
        apply(
            cloud,
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": parts.map_name(index),
                    "namespace": namespace,
                    "labels": {words::MANAGED_BY: words::MANAGER, "vial.dev/sshd": parts.name},
                },
                "immutable": true,
                "binaryData": {"part": content},
            }),
        )
    }))
    .await?;
    Ok(())
}
