//! From what was asked for to the objects of Kubernetes: pure.
//!
//! ```text
//!  PodOptions ─┐
//!  Identity    ├─► Objects { service, others: Secret, ConfigMap, claims, Deployment, timer: Job }
//!  Means       ┘
//! ```

mod deployment;
mod options;
mod port;
mod timer;
mod volume;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::words;

pub use options::{Dns, Expose, Files, PodOptions, Pull};
pub use port::{PortWish, Protocol};
pub use timer::Timer;
pub use volume::{Source, VolumeWish};

/// Where the ssh server comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// An image that holds it (`/vial-sshd install DIR`).
    Image(String),
    /// ConfigMaps of the namespace, put together by the shell of the pod's own image.
    Parts(Parts),
}

/// The ssh server in ConfigMaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// What the ConfigMaps' names begin with: it changes with the content.
    pub name: String,
    /// Their content, in order, each at most 900 KiB.
    pub parts: Vec<Vec<u8>>,
    /// What `sh -c` runs to put them together: /vial/parts/* becomes /vial/bin.
    pub script: String,
}

impl Parts {
    /// The name of the ConfigMap of one part, from 0.
    #[must_use]
    pub fn map_name(&self, index: usize) -> String {
        format!("{}-{:03}", self.name, index + 1)
    }
}

/// What makes a pod itself, and stays as long as it is there.
#[derive(Clone)]
pub struct Identity {
    /// The private host key, in OpenSSH's own format.
    pub host_key: String,
    /// The public one: `ssh-ed25519 AAAA…`.
    pub host_public: String,
    /// Who may log in; lines of authorized_keys(5).
    pub authorized_keys: String,
    /// Authorities whose user certificates are good; lines of public keys.
    pub user_ca: Option<String>,
    /// When it was made first.
    pub created: Timestamp,
}

/// One pod, with all that its objects are made of.
#[derive(Clone)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where.
    pub namespace: &'a str,
    /// What was asked for, with all defaults filled in.
    pub options: &'a PodOptions,
    /// Its keys.
    pub identity: &'a Identity,
    /// How the ssh server comes into it.
    pub means: &'a Means,
    /// The batch it belongs to.
    pub batch: Option<&'a str>,
    /// The image's own entry point cannot run: there is none, or it ends at once.
    pub without_entry: bool,
}

/// The objects of one pod. The Service owns the others; it is made first.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// The root.
    pub service: Value,
    /// What it owns, the Deployment last.
    pub others: Vec<Value>,
    /// What ends it, if something does: it owns the Service, and the Service it.
    pub timer: Option<Timer>,
}

impl Wanted<'_> {
    /// The objects.
    #[must_use]
    pub fn objects(&self) -> Objects {
        let mut others = vec![self.ssh_secret()];
        let files = [
            ("Secret", words::secret(self.name), &self.options.secrets),
            ("ConfigMap", words::config(self.name), &self.options.configs),
        ];
        for (kind, name, files) in files {
            if !files.0.is_empty() {
                others.push(self.files(kind, &name, files));
            }
        }
        others.extend(self.claims());
        others.push(self.deployment());
        Objects {
            service: self.service(),
            others,
            timer: self.timer(),
        }
    }

    /// When it is to be removed.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        let ttl = self.options.ttl?;
        self.identity.created.checked_add(ttl).ok()
    }

    fn labels(&self) -> Map<String, Value> {
        let labels = [
            (words::MANAGED_BY, Some(words::MANAGER)),
            (words::NAME, Some(self.name)),
            (words::POD, Some(self.name)),
            (words::BATCH, self.batch),
        ];
        labels
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
            .collect()
    }

    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": self.labels()})
    }

    fn service(&self) -> Value {
        let options = self.options;
        let mut ports = vec![json!({
            "name": words::SSH_PORT, "port": 22, "protocol": "TCP", "targetPort": words::SSH_PORT,
        })];
        ports.extend(options.ports.iter().map(PortWish::of_service));
        let mut annotations = BTreeMap::from([
            (words::USER, options.login().to_owned()),
            (words::IMAGE, options.image.clone().unwrap_or_default()),
            (words::CREATED, self.identity.created.to_string()),
            (words::HOST_KEY, self.identity.host_public.clone()),
            (words::ASKED, options.asked()),
        ]);
        if let Some(end) = self.expires() {
            annotations.insert(words::EXPIRES, end.to_string());
        }
        let mut metadata = self.metadata(self.name);
        metadata["annotations"] = json!(annotations);
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": options.expose.service_type(),
                "ipFamilyPolicy": "PreferDualStack",
                "selector": {words::POD: self.name},
                "ports": ports,
            },
        })
    }

    fn ssh_secret(&self) -> Value {
        let identity = self.identity;
        let mut data = json!({
            "ssh_host_ed25519_key": identity.host_key,
            "ssh_host_ed25519_key.pub": identity.host_public.clone() + "\n",
            "authorized_keys": identity.authorized_keys,
        });
        if let Some(authorities) = &identity.user_ca {
            data["user_ca.pub"] = json!(authorities);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": self.metadata(&words::ssh_secret(self.name)),
            "stringData": data,
        })
    }

    fn files(&self, kind: &str, name: &str, files: &Files) -> Value {
        let field = match kind {
            "Secret" => "data",
            _ => "binaryData",
        };
        let data: BTreeMap<_, _> = (files.0.iter())
            .map(|(name, content)| (name, json!(k8s_openapi::ByteString(content.clone()))))
            .collect();
        json!({"apiVersion": "v1", "kind": kind, "metadata": self.metadata(name), field: data})
    }

    fn claims(&self) -> impl Iterator<Item = Value> {
        self.options.volumes.iter().filter_map(|volume| {
            let Source::New { name, size } = &volume.source else {
                return None;
            };
            Some(json!({
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": self.metadata(&words::claim(self.name, name)),
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": size}},
                },
            }))
        })
    }
}

#[cfg(test)]
mod tests;
