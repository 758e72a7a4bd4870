//! What is there of a pod before it is made: whether it is vial's, what was asked for then, and its keys.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::ResourceExt as _;
use kube::api::Api;
use serde_json::Value;

use super::{Keys, Wish};
use crate::cloud::Cloud;
use crate::error::{Error, Kind, Result};
use crate::plan::{Identity, PodOptions};
use crate::words;

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
            if !words::is_ours(service) {
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

fn differences(old: &Value, new: &Value) -> Vec<String> {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return Vec::new();
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let show = |value: Option<&Value>| match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
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
