//! The provisioner behind the default StorageClass: a directory of the node for each claim.
//!
//! A kept component (Rancher's, which kind uses as well). It runs beside the controllers; only its helper pods, which
//! make and remove a volume's directory, run on the nodes.

use serde_json::json;

use super::{Args, Builder, Component, Content, Stage, files};

/// The provisioner's name in the StorageClass.
pub(in crate::plan) const PROVISIONER: &str = "vial.dev/local-path";
/// Where volumes lie on a node.
pub(in crate::plan) const VOLUMES: &str = "/var/lib/vial/volumes";
/// Its namespace, and that of its helper pods.
pub(in crate::plan) const NAMESPACE: &str = "kube-system";

const NAME: &str = "local-path-provisioner";

pub(super) fn add(builder: &mut Builder<'_>) {
    let conf = builder.kubeconfig(NAME, builder.own(NAME), format!("vial:{NAME}"), &[]);
    let config =
        json!({"nodePathMap": [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [VOLUMES]}]});
    let config = files::public(
        "/etc/kubernetes/local-path.json",
        Content::Text(format!("{config:#}\n")),
    );
    let config = builder.file(config);
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "priorityClassName": "system-node-critical",
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "helper-pod", "image": "docker.io/vial/toolbox:latest", "imagePullPolicy": "IfNotPresent"}],
        },
    });
    let pod = files::public(
        "/etc/kubernetes/local-path-helper-pod.json",
        Content::Text(format!("{pod:#}\n")),
    );
    let pod = builder.file(pod);
    let flags = Args::default()
        .set("config", &config)
        .set("configmap-name", "local-path-config")
        .set("helper-image", "docker.io/vial/toolbox:latest")
        .set("helper-pod-file", &pod)
        .set("kubeconfig", &conf)
        .set("namespace", NAMESPACE)
        .set("provisioner-name", PROVISIONER)
        .set("service-account-name", "default");
    let mut argv = flags.argv("start");
    argv.insert(0, NAME.into());
    builder.add(Component {
        name: NAME,
        args: Args::default(),
        argv: Some(argv),
        reads: vec![conf, config, pod],
        // It serves nothing that could be asked; it works once it runs.
        ready: None,
        after: &["kube-apiserver"],
        stage: Stage::Joined,
    });
}
