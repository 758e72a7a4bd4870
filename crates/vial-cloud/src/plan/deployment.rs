//! The Deployment: one replica of the person's image, with an ssh server in it.

use serde_json::{Map, Value, json};

use super::{Dns, Means, Parts, PortWish, Pull, Source, VolumeWish, Wanted};
use crate::words;

/// Where the programs are, in every container that has them.
const BIN: &str = "/vial/bin";
/// The unprivileged user's number.
const UID: i64 = 1000;
/// How long a node may be away before the pod is made on another one, in seconds.
const NODE_LOSS: i64 = 30;
/// How long the entry point has to end itself, in seconds. Kubernetes' own 30 s would be felt with every shell that
/// does not care for SIGTERM.
const GRACE: i64 = 3;

impl Wanted<'_> {
    pub(super) fn deployment(&self) -> Value {
        let options = self.options;
        let mut spec = json!({
            "hostname": self.name,
            "terminationGracePeriodSeconds": GRACE,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "tolerations": tolerations(),
            "initContainers": [self.installer()],
            "containers": [self.container()],
            "volumes": self.volumes(),
        });
        let mut selector = options.node_selector.clone();
        if let Some(node) = &options.on {
            // By the label rather than by nodeName, which would pass the scheduler by: it knows what a node can take.
            selector.insert("kubernetes.io/hostname".into(), node.clone());
        }
        if !selector.is_empty() {
            spec["nodeSelector"] = json!(selector);
        }
        if options.host_network {
            spec["hostNetwork"] = json!(true);
        }
        let policy = match (options.dns, options.host_network) {
            (Dns::Node, _) => Some("Default"),
            (Dns::Cluster, true) => Some("ClusterFirstWithHostNet"),
            (Dns::Cluster, false) => None,
        };
        if let Some(policy) = policy {
            spec["dnsPolicy"] = json!(policy);
        }
        if options.non_root {
            spec["securityContext"] = json!({
                "runAsNonRoot": true, "runAsUser": UID, "runAsGroup": UID, "fsGroup": UID,
                "seccompProfile": {"type": "RuntimeDefault"},
            });
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(self.name),
            "spec": {
                "replicas": 1,
                "revisionHistoryLimit": 0,
                // A changed pod takes the place of the old one: they are one machine.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {words::POD: self.name}},
                "template": {
                    "metadata": {
                        "labels": self.labels(),
                        "annotations": {"kubectl.kubernetes.io/default-container": words::CONTAINER},
                    },
                    "spec": spec,
                },
            },
        })
    }

    /// Puts the programs into the volume.
    fn installer(&self) -> Value {
        let mut mounts = vec![json!({"name": "vial-bin", "mountPath": BIN})];
        let (image, pull, command) = match self.means {
            Means::Image(image) => (
                image.clone(),
                Pull::IfNotPresent,
                json!(["/vial-sshd", "install", BIN]),
            ),
            Means::Parts(parts) => {
                mounts.push(json!({"name": "vial-parts", "mountPath": "/vial/parts"}));
                (
                    self.image(),
                    self.options.pull,
                    json!(["sh", "-c", parts.script]),
                )
            }
        };
        json!({
            "name": words::INSTALLER,
            "image": image,
            "imagePullPolicy": pull,
            "command": command,
            "securityContext": self.security(false),
            "volumeMounts": mounts,
        })
    }

    fn image(&self) -> String {
        self.options.image.clone().unwrap_or_default()
    }

    /// The container one logs in to.
    fn container(&self) -> Value {
        let options = self.options;
        let mut ports = vec![json!({
            "name": words::SSH_PORT, "containerPort": self.ssh_port(), "protocol": "TCP",
        })];
        ports.extend(options.ports.iter().map(PortWish::of_container));
        let mut container = json!({
            "name": words::CONTAINER,
            "image": self.image(),
            "imagePullPolicy": options.pull,
            "ports": ports,
            "securityContext": self.security(true),
            "volumeMounts": self.mounts(),
            "readinessProbe": {
                "tcpSocket": {"port": words::SSH_PORT}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 5,
            },
        });
        let mut server = self.server();
        if !options.command.is_empty() {
            server.push("--".into());
            server.extend(options.command.iter().cloned());
            container["command"] = json!(server);
        } else if options.no_entry || self.without_entry {
            container["command"] = json!(server);
        } else {
            // A shell as entry point waits for what it is told as long as its input is open, as with `docker run -i`.
            container["stdin"] = json!(true);
            server.insert(1, "--detach".into());
            container["lifecycle"] = json!({"postStart": {"exec": {"command": server}}});
        }
        if !options.env.is_empty() {
            let env = options.env.iter();
            let env: Vec<_> = env
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            container["env"] = json!(env);
        }
        let mut amounts = Map::new();
        for (name, amount) in [("cpu", &options.cpu), ("memory", &options.memory)] {
            if let Some(amount) = amount {
                amounts.insert(name.into(), json!(amount));
            }
        }
        if !amounts.is_empty() {
            container["resources"] = json!({"requests": amounts, "limits": amounts});
        }
        container
    }

    /// How the server is called, without what it starts.
    fn server(&self) -> Vec<String> {
        let options = self.options;
        let mut words: Vec<String> = vec![
            words::SSHD.into(),
            "--port".into(),
            self.ssh_port().to_string(),
        ];
        let user = options.login();
        if user != "root" {
            words.extend(["--user".into(), user.into()]);
        }
        if let Some(shell) = &options.shell {
            words.extend(["--shell".into(), shell.clone()]);
        }
        if let Some(end) = self.expires() {
            words.extend(["--expires".into(), end.to_string()]);
        }
        words
    }

    /// An unprivileged process cannot be sure of port 22; on a node's own network there is a server already.
    fn ssh_port(&self) -> u16 {
        if self.options.host_network {
            let text = format!("{}/{}", self.namespace, self.name);
            let sum = text.bytes().fold(7_u16, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(byte.into())
            });
            return 22_000 + sum % 2_000;
        }
        if self.options.non_root { 2222 } else { 22 }
    }

    fn security(&self, main: bool) -> Value {
        let options = self.options;
        if options.non_root {
            let mut context = json!({
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            });
            if main && options.read_only {
                context["readOnlyRootFilesystem"] = json!(true);
            }
            return context;
        }
        // Whatever user the image names: logins as root and as others need root.
        let mut context = json!({"runAsUser": 0, "runAsGroup": 0});
        if main {
            if options.privileged {
                context["privileged"] = json!(true);
            }
            if !options.cap_add.is_empty() {
                context["capabilities"] = json!({"add": options.cap_add});
            }
            if options.read_only {
                context["readOnlyRootFilesystem"] = json!(true);
            }
        }
        context
    }

    fn mounts(&self) -> Vec<Value> {
        let mount =
            |name: &str, path: &str| json!({"name": name, "mountPath": path, "readOnly": true});
        let mut mounts = vec![mount("vial-bin", BIN), mount("vial-keys", "/vial/keys")];
        if !self.options.secrets.0.is_empty() {
            mounts.push(mount("vial-secrets", "/var/secrets"));
        }
        if !self.options.configs.0.is_empty() {
            mounts.push(mount("vial-config", "/var/config"));
        }
        for (index, volume) in self.options.volumes.iter().enumerate() {
            let mut one = json!({"name": format!("volume-{index}"), "mountPath": volume.mount});
            if volume.read_only {
                one["readOnly"] = json!(true);
            }
            mounts.push(one);
        }
        mounts
    }

    fn volumes(&self) -> Vec<Value> {
        // A Secret of root's, or of the group that the kubelet gives to an unprivileged pod's files.
        let mode = if self.options.non_root { 0o440 } else { 0o400 };
        let secret = |name: &str, secret: String| json!({"name": name, "secret": {"secretName": secret, "defaultMode": mode}});
        let mut volumes = vec![
            json!({"name": "vial-bin", "emptyDir": {}}),
            secret("vial-keys", words::ssh_secret(self.name)),
        ];
        if let Means::Parts(parts) = self.means {
            volumes.push(json!({"name": "vial-parts", "projected": {"sources": sources(parts)}}));
        }
        if !self.options.secrets.0.is_empty() {
            volumes.push(secret("vial-secrets", words::secret(self.name)));
        }
        if !self.options.configs.0.is_empty() {
            volumes.push(
                json!({"name": "vial-config", "configMap": {"name": words::config(self.name)}}),
            );
        }
        for (index, volume) in self.options.volumes.iter().enumerate() {
            volumes.push(self.volume(&format!("volume-{index}"), volume));
        }
        volumes
    }

    fn volume(&self, name: &str, volume: &VolumeWish) -> Value {
        let claim =
            |claim: &str| json!({"name": name, "persistentVolumeClaim": {"claimName": claim}});
        match &volume.source {
            Source::HostPath(path) => json!({"name": name, "hostPath": {"path": path}}),
            Source::Claim(existing) => claim(existing),
            Source::New { name: new, .. } => claim(&words::claim(self.name, new)),
        }
    }
}

fn sources(parts: &Parts) -> Vec<Value> {
    (0..parts.parts.len())
        .map(|index| {
            let item = json!({"key": "part", "path": format!("{:03}", index + 1)});
            json!({"configMap": {"name": parts.map_name(index), "items": [item]}})
        })
        .collect()
}

/// Lost nodes are left after a while that a person would wait, not after Kubernetes' five minutes.
fn tolerations() -> Value {
    json!([
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_LOSS},
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_LOSS},
    ])
}
