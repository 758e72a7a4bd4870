//! Making, changing and removing pods.
//!
//! ```text
//!  look (is it there? is it vial's? what was asked for?) ──► refuse, or:
//!  namespace ─► Service ─► Secret, claims, …, Deployment ─► wait by watches ─► ready
//!     └──────────── what was new goes again ◄──────────────── trouble, in one line
//! ```
//! Every step may be repeated: a `create` that was killed is finished by the next one.

mod apply;
mod log;
mod namespace;
mod remove;
mod restart;
mod trouble;
mod wait;

use std::collections::BTreeMap;

use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use crate::cloud::Cloud;
use crate::error::{Error, Kind, Result};
use crate::plan::{Identity, Means, Objects, Parts, PodOptions, Wanted};
use crate::words;

pub use apply::apply;
pub use log::last_words;
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

/// What is there of a pod before it is made.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Its Service.
    service: Option<Service>,
    /// Its Secret with the host key.
    secret: Option<Secret>,
}

impl Before {
    /// Looks.
    ///
    /// # Errors
    /// When something of that name is there that vial did not make, or the API does not let us look.
    pub async fn look(cloud: &Cloud, namespace: &str, name: &str) -> Result<Self> {
        let services: Api<Service> = Api::namespaced(cloud.client().clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(cloud.client().clone(), namespace);
        let secret = words::ssh_secret(name);
        let what = format!("cannot look for pod {name} in namespace {namespace}");
        let (service, secret) =
            futures::try_join!(services.get_opt(name), secrets.get_opt(&secret))
                .map_err(Error::api(what))?;
        if let Some(service) = &service {
            if service.labels().get(words::MANAGED_BY).map(String::as_str) != Some(words::MANAGER) {
                let message =
                    format!("namespace {namespace} has a Service {name} that vial did not make");
                return Err(Error::new(Kind::Conflict, message)
                    .hinted("choose another name, or another namespace with -n"));
            }
            if service.metadata.deletion_timestamp.is_some() {
                let message = format!("pod {name} is just being removed");
                return Err(Error::new(Kind::Conflict, message).hinted(format!(
                    "`vial pod wait {name} --for gone` tells when it is gone"
                )));
            }
        }
        Ok(Self { service, secret })
    }

    /// Whether there is something of it already.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.service.is_some()
    }

    /// What was asked for then; `None` when it is new, or cannot be read.
    #[must_use]
    pub fn asked(&self) -> Option<PodOptions> {
        let text = self.service.as_ref()?.annotations().get(words::ASKED)?;
        let mut asked: serde_json::Value = serde_json::from_str(text).ok()?;
        let map = asked.as_object_mut()?;
        for files in ["secrets", "configs"] {
            map.remove(files);
        }
        serde_json::from_value(asked).ok()
    }

    /// What was asked for otherwise then: `image: debian, now fedora`; nothing when it is the same or new.
    #[must_use]
    pub fn differences(&self, options: &PodOptions) -> Vec<String> {
        let text = self
            .service
            .as_ref()
            .and_then(|service| service.annotations().get(words::ASKED));
        let Some(old) = text.and_then(|text| serde_json::from_str(text).ok()) else {
            return Vec::new();
        };
        let new = serde_json::from_str(&options.asked()).unwrap_or_default();
        differences(&old, &new)
    }

    /// The keys it has, or new ones.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn identity(&self, wish: &Wish, keys: &Keys) -> Result<Identity> {
        let kept = self.secret.as_ref().and_then(|secret| {
            let data = secret.data.as_ref()?;
            let text = |name: &str| String::from_utf8(data.get(name)?.0.clone()).ok();
            let public = text("ssh_host_ed25519_key.pub")?.trim().to_owned();
            Some((text("ssh_host_ed25519_key")?, public))
        });
        let (host_key, host_public) = match kept {
            Some(kept) => kept,
            None => {
                let key = vial_pki::ssh::HostKey::generate(&wish.name).map_err(|error| {
                    let what = format!("cannot make a host key for pod {}", wish.name);
                    Error::new(Kind::Failed, what).caused(error)
                })?;
                (key.private, key.public)
            }
        };
        let created = self.service.as_ref().and_then(|service| {
            let text = service.annotations().get(words::CREATED)?;
            text.parse::<Timestamp>().ok()
        });
        let mut authorized_keys = keys.authorized_keys.clone();
        for key in &wish.options.ssh_keys {
            authorized_keys += &format!("{}\n", key.trim());
        }
        let authorities = &wish.options.user_ca;
        Ok(Identity {
            host_key,
            host_public,
            authorized_keys,
            user_ca: (!authorities.is_empty()).then(|| authorities.join("\n") + "\n"),
            // Seconds are enough, and what people read.
            created: created.unwrap_or_else(now),
        })
    }
}

fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn differences(old: &serde_json::Value, new: &serde_json::Value) -> Vec<String> {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return Vec::new();
    };
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let show = |value: Option<&serde_json::Value>| match value {
        None => "nothing".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| {
            let (old, new) = (show(old.get(name)), show(new.get(name)));
            format!("{name}: {old}, now {new}")
        })
        .collect()
}

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
    let root = apply(cloud, objects.service).await?;
    let owner = serde_json::json!([{
        "apiVersion": "v1",
        "kind": "Service",
        "name": root.name_any(),
        "uid": root.uid().unwrap_or_default(),
    }]);
    try_join_all(objects.others.into_iter().map(|mut object| {
        object["metadata"]["ownerReferences"] = owner.clone();
        apply(cloud, object)
    }))
    .await?;
    Ok(())
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
        let content = k8s_openapi::ByteString(parts.parts[index].clone());
        apply(
            cloud,
            serde_json::json!({
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_by_its_name() {
        let old = serde_json::json!({"image": "debian", "cpu": "1"});
        let new = serde_json::json!({"image": "fedora", "cpu": "1", "noEntry": true});
        let expected = ["image: debian, now fedora", "noEntry: nothing, now true"];
        assert_eq!(differences(&old, &new), expected);
    }
}
