//! What may be asked for a pod: by flags, and in pods.yaml under the same names.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{PortWish, VolumeWish};
use crate::error::{Error, Kind, Result};

/// Which DNS a pod asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dns {
    /// The cluster's: names of Services are found.
    #[default]
    Cluster,
    /// The node's.
    Node,
}

/// From where the Service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expose {
    /// From within the cluster.
    #[default]
    Cluster,
    /// At a port of every node, too.
    NodePort,
    /// At an address of a load balancer, too.
    LoadBalancer,
}

impl Expose {
    pub(super) fn service_type(self) -> &'static str {
        match self {
            Self::Cluster => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// When the node asks a registry for the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Pull {
    /// Always.
    Always,
    /// When the node does not have it: also for the tag `latest`, unlike Kubernetes' own default.
    #[default]
    IfNotPresent,
    /// Never.
    Never,
}

/// Files: names and contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodOptions {
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A user beside root, made on the fly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Public keys (lines) that may log in, beside the person's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// Public keys of authorities whose user certificates may log in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user_ca: Vec<String>,
    /// A quantity: `500m`, `2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// A quantity: `512Mi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Ports of the Service beside ssh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortWish>,
    /// From where the Service is reached.
    #[serde(skip_serializing_if = "is_default")]
    pub expose: Expose,
    /// Volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeWish>,
    /// Below /var/secrets.
    #[serde(skip)]
    pub secrets: Files,
    /// Below /var/config.
    #[serde(skip)]
    pub configs: Files,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Labels of the node.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Which DNS it asks.
    #[serde(skip_serializing_if = "is_default")]
    pub dns: Dns,
    /// All rights on the node.
    #[serde(skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// Capabilities: `NET_ADMIN`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// The node's network instead of one of its own.
    #[serde(skip_serializing_if = "is_default")]
    pub host_network: bool,
    /// As uid 1000 without any privilege: fits Pod Security `restricted`.
    #[serde(skip_serializing_if = "is_default")]
    pub non_root: bool,
    /// The image's files cannot be written to.
    #[serde(skip_serializing_if = "is_default")]
    pub read_only: bool,
    /// Run instead of the image's own entry point.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Run nothing but the ssh server.
    #[serde(skip_serializing_if = "is_default")]
    pub no_entry: bool,
    /// When the node asks a registry for the image.
    #[serde(skip_serializing_if = "is_default")]
    pub pull: Pull,
    /// How long it lives, from its creation.
    #[serde(with = "span", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<SignedDuration>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A span in a file: `2h`, `1h30m`.
mod span {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        span: &Option<SignedDuration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => to.serialize_str(&format!("{span:#}")),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SignedDuration>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom))
            .transpose()
    }
}

impl PodOptions {
    /// Whom to log in as.
    #[must_use]
    pub fn login(&self) -> &str {
        match &self.user {
            Some(user) => user,
            None if self.non_root => "vial",
            None => "root",
        }
    }

    /// As JSON, for comparison; of files only the names: what is in them may be a secret, and is kept up to date anyway.
    #[must_use]
    pub fn asked(&self) -> String {
        let mut asked = serde_json::to_value(self).unwrap_or_default();
        for (field, files) in [("secrets", &self.secrets), ("configs", &self.configs)] {
            if !files.0.is_empty() {
                asked[field] = files.0.keys().cloned().collect();
            }
        }
        asked.to_string()
    }

    /// Refuses, before anything is made, what cannot be right.
    ///
    /// # Errors
    /// What is wrong, and with what.
    pub fn check(&self) -> Result<()> {
        let bad = |why: String| Err(Error::new(Kind::BadInput, why));
        let quantities = [("cpu", &self.cpu, CPU), ("memory", &self.memory, MEMORY)];
        for (what, quantity, units) in quantities {
            if let Some(text) = quantity
                && !is_quantity(text, units)
            {
                let example = if what == "cpu" {
                    "2, 500m"
                } else {
                    "512Mi, 2Gi"
                };
                return bad(format!(
                    "`{text}` is no amount of {what}: write it as {example}"
                ));
            }
        }
        if let Some(user) = &self.user
            && !is_user(user)
        {
            return bad(format!("`{user}` cannot be the name of a user"));
        }
        if self
            .shell
            .as_ref()
            .is_some_and(|shell| !shell.starts_with('/'))
        {
            return bad("the shell has to be an absolute path".into());
        }
        for name in self.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                return bad(format!("`{name}` cannot be the name of a variable"));
            }
        }
        for capability in &self.cap_add {
            let plain = |letter: char| {
                letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
            };
            if capability.is_empty() || !capability.chars().all(plain) {
                return bad(format!(
                    "`{capability}` is no capability: write NET_ADMIN, SYS_PTRACE, …"
                ));
            }
        }
        if self.ttl.is_some_and(|ttl| ttl <= SignedDuration::ZERO) {
            return bad("the ttl must be longer than nothing".into());
        }
        if self.non_root {
            let not = [
                (self.privileged, "privileged"),
                (!self.cap_add.is_empty(), "capAdd"),
                (self.host_network, "hostNetwork"),
                (self.user.as_deref() == Some("root"), "user root"),
            ];
            if let Some((_, what)) = not.iter().find(|(is, _)| *is) {
                return bad(format!("nonRoot and {what} exclude each other"));
            }
        }
        if self.no_entry && !self.command.is_empty() {
            return bad("command and noEntry exclude each other".into());
        }
        let mut seen = std::collections::BTreeSet::new();
        for port in &self.ports {
            if !seen.insert((port.service, format!("{:?}", port.protocol))) {
                return bad(format!("port {port} is named twice"));
            }
        }
        let mut mounts = std::collections::BTreeSet::new();
        for volume in &self.volumes {
            if !mounts.insert(volume.mount.trim_end_matches('/')) {
                return bad(format!("two volumes are to be mounted at {}", volume.mount));
            }
        }
        for name in self.secrets.0.keys().chain(self.configs.0.keys()) {
            let good = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            if name.is_empty()
                || name.len() > 253
                || name == "."
                || name == ".."
                || !name.chars().all(good)
            {
                return bad(format!(
                    "`{name}` cannot be the name of a file in a Secret or ConfigMap"
                ));
            }
        }
        for (what, files) in [("Secret", &self.secrets), ("ConfigMap", &self.configs)] {
            if files.0.values().map(Vec::len).sum::<usize>() > 1024 * 1024 {
                return bad(format!(
                    "the files are too large for a {what}: at most 1 MiB together"
                ));
            }
        }
        Ok(())
    }
}

const CPU: &[&str] = &["", "m"];
const MEMORY: &[&str] = &["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];

/// A number with one of these units (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).
fn is_quantity(text: &str, units: &[&str]) -> bool {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number = &text[..text.len() - unit.len()];
    units.contains(&unit) && number.parse::<f64>().is_ok_and(|number| number > 0.0)
}

/// As useradd(8) allows them.
fn is_user(name: &str) -> bool {
    let first = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    name.len() <= 32
        && name.starts_with(first)
        && name
            .chars()
            .all(|letter| first(letter) || letter.is_ascii_digit() || letter == '-')
}
