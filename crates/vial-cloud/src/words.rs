//! The words by which everything that belongs together is found again: labels, annotations, names.

/// The namespace of pods for which no other one is named. It is made on demand.
pub const NAMESPACE: &str = "vial-pods";

/// Who owns the fields that vial sets (server-side apply), and the value of [`MANAGED_BY`].
pub const MANAGER: &str = "vial";

/// Label of everything that vial made: `vial`
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>).
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: the pod's name, for tools that show it.
pub const NAME: &str = "app.kubernetes.io/name";
/// Label: the name of the pod that an object belongs to; Services, Deployments and Pods are selected by it.
pub const POD: &str = "vial.dev/pod";
/// Label: the batch that a pod came with (`-f pods.yaml`).
pub const BATCH: &str = "vial.dev/batch";

/// Annotation of the Service: the name to log in by.
pub const USER: &str = "vial.dev/user";
/// Annotation of the Service: the image, as it was asked for.
pub const IMAGE: &str = "vial.dev/image";
/// Annotation of the Service: when the pod is to be removed, RFC 3339.
pub const EXPIRES: &str = "vial.dev/expires";
/// Annotation of the Service: when the pod was asked for first, RFC 3339.
pub const CREATED: &str = "vial.dev/created";
/// Annotation of the Service: the public host key, `ssh-ed25519 AAAA…`.
pub const HOST_KEY: &str = "vial.dev/host-key";
/// Annotation of the Service: what was asked for, as JSON; what differs from it is a change.
pub const ASKED: &str = "vial.dev/asked";

/// Selects the Services, Deployments and Pods of all pods of vial.
pub const SELECTOR: &str = "app.kubernetes.io/managed-by=vial,vial.dev/pod";

/// The container that one logs in to.
pub const CONTAINER: &str = "box";
/// The init container that puts the ssh server into the pod.
pub const INSTALLER: &str = "vial-sshd";
/// The program of the ssh server, in every container that has one.
pub(crate) const SSHD: &str = "/vial/bin/vial-sshd";
/// The name of the port that ssh is served at, in Service and container.
pub const SSH_PORT: &str = "ssh";

/// Where a vial cluster says what it has: a ConfigMap of this name …
pub const FACTS: &str = "vial";
/// … in this namespace.
pub const FACTS_NAMESPACE: &str = "kube-public";
/// Its key: the image that holds the ssh server, on every node already.
pub const FACT_SSHD_IMAGE: &str = "sshdImage";
/// Its key: the image of pods for which none is named.
pub const FACT_DEFAULT_IMAGE: &str = "defaultImage";
/// Its key: the name of the vial cluster.
pub const FACT_CLUSTER: &str = "cluster";

/// The Secret with the host key and with who may log in.
#[must_use]
pub fn ssh_secret(pod: &str) -> String {
    format!("{pod}-ssh")
}

/// The Secret with the files below /var/secrets.
#[must_use]
pub fn secret(pod: &str) -> String {
    format!("{pod}-secrets")
}

/// The ConfigMap with the files below /var/config.
#[must_use]
pub fn config(pod: &str) -> String {
    format!("{pod}-config")
}

/// The claim of a volume.
#[must_use]
pub fn claim(pod: &str, volume: &str) -> String {
    format!("{pod}-{volume}")
}

/// The Job that ends a pod made for a time.
#[must_use]
pub fn timer(pod: &str) -> String {
    format!("{pod}-ttl")
}

/// Was it made by vial?
pub(crate) fn is_ours(object: &impl kube::ResourceExt) -> bool {
    object
        .labels()
        .get(MANAGED_BY)
        .is_some_and(|by| by == MANAGER)
}
