//! kubelet: clients prove themselves by certificate or token and are asked about at the API (webhook).

use serde_json::json;
use vial_spec::{ClusterSpec, ComponentConfig, IpFamily};

use super::super::args::merge;
use super::super::manifests::minor;
use super::{Args, Builder, Ca, Component, Content, Context, LeafPlan, PKI, Stage, files, http};

const NAME: &str = "kubelet";

/// Where a person's `files` may put static pods.
const STATIC_PODS: &str = "/etc/kubernetes/manifests";

pub(super) fn add(builder: &mut Builder<'_>) {
    let node = builder.node;
    let spec = builder.context.spec;
    let addresses = node.addresses(spec.network.ip_family);
    let user = format!("system:node:{}", node.name);
    let conf = builder.kubeconfig(NAME, builder.own(NAME), &user, &["system:nodes"]);
    let leaf = LeafPlan::server(
        Ca::Cluster,
        user,
        vec![node.name.clone()],
        addresses.clone(),
    );
    let [cert, key] = builder.leaf(NAME, builder.own("kubelet-serving"), leaf);
    let changed = builder.config(NAME);
    let text = configuration(builder, &changed, &cert, &key);
    let config = builder.file(files::public(
        "/etc/kubernetes/kubelet.yaml",
        Content::Text(text),
    ));
    // Only the directory is wanted: without it the kubelet complains every second. It overlooks files with a dot.
    builder.file(files::public(
        format!("{STATIC_PODS}/.keep"),
        Content::Text(String::new()),
    ));
    let args = Args::default()
        .set("config", &config)
        .set("kubeconfig", &conf)
        .set("hostname-override", &node.name)
        .set("node-ip", Context::joined(&addresses));
    builder.add(Component {
        name: NAME,
        args,
        argv: None,
        reads: vec![config, conf, cert, key, format!("{PKI}/ca.crt")],
        ready: Some(http("http://127.0.0.1:10248/healthz")),
        after: &["containerd"],
        stage: Stage::Registered,
    });
}

/// KubeletConfiguration v1beta1, the person's own configuration merged over it. JSON is YAML.
fn configuration(
    builder: &Builder<'_>,
    changed: &ComponentConfig,
    cert: &str,
    key: &str,
) -> String {
    let spec = builder.context.spec;
    let dns: Vec<_> = spec
        .dns_service_ips()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": format!("{PKI}/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": dns.first().into_iter().collect::<Vec<_>>(),
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        // A lab shares the host's disk and memory: what is full there is not this node's to mend.
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "memory.available": "50Mi"},
        "imageGCHighThresholdPercent": 100,
        // Newer kubelets refuse to start on cgroup v1 unless told so.
        "failCgroupV1": false,
        "failSwapOn": false,
        "healthzBindAddress": "127.0.0.1",
        // A kubelet that starts on a node which was Ready before (thawed, or started again) may look at it before its
        // container runtime has been asked, say that it is not Ready, and by default look again after ten seconds. What
        // has not changed is still told every five minutes only.
        "nodeStatusUpdateFrequency": "1s",
        "nodeStatusReportFrequency": "5m",
        "resolvConf": "/etc/resolv.conf",
        "rotateCertificates": false,
        "staticPodPath": STATIC_PODS,
        "tlsCertFile": cert,
        "tlsPrivateKeyFile": key,
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
    });
    if spec.network.ip_family == IpFamily::Ipv6 {
        config["address"] = json!("::");
    }
    let swap = builder.node.machine.as_ref().and_then(|one| one.swap);
    if swap.is_some() {
        // Who wants swap wants it for pods; without a word of it they get none (NodeSwap).
        config["memorySwap"] = json!({"swapBehavior": "LimitedSwap"});
    }
    if !spec.feature_gates.is_empty() {
        config["featureGates"] = json!(spec.feature_gates);
    }
    if remembers_pulls(spec, &builder.context.facts.image.kubernetes) {
        // Else an image that was pulled once could not be loaded under another name: it would have to be pulled again.
        config["imagePullCredentialsVerificationPolicy"] = json!("NeverVerify");
    }
    merge(&mut config, &changed.config);
    format!("{config:#}\n")
}

/// Does the kubelet know with whose credentials an image was pulled (KEP-2535, on by default since Kubernetes 1.35)?
fn remembers_pulls(spec: &ClusterSpec, kubernetes: &str) -> bool {
    let gate = spec.feature_gates.get("KubeletEnsureSecretPulledImages");
    gate.copied().unwrap_or(minor(kubernetes) >= 35)
}
