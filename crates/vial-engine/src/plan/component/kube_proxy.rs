//! kube-proxy in nftables mode.

use serde_json::json;
use vial_spec::{ComponentConfig, IpFamily};

use super::super::args::merge;
use super::{Args, Builder, Component, Content, Context, Stage, files, http};

const NAME: &str = "kube-proxy";

pub(super) fn add(builder: &mut Builder<'_>) {
    let conf = builder.kubeconfig(NAME, NAME.into(), format!("system:{NAME}"), &[]);
    let changed = builder.config(NAME);
    let text = configuration(builder, &changed, &conf);
    let config = builder.file(files::public(
        "/etc/kubernetes/kube-proxy.yaml",
        Content::Text(text),
    ));
    builder.add(Component {
        name: NAME,
        args: Args::default().set("config", &config),
        argv: None,
        reads: vec![config, conf],
        ready: Some(http("http://127.0.0.1:10256/livez")),
        after: &[],
        stage: Stage::Registered,
    });
}

/// KubeProxyConfiguration v1alpha1, the person's own configuration merged over it. JSON is YAML.
fn configuration(builder: &Builder<'_>, changed: &ComponentConfig, conf: &str) -> String {
    let spec = builder.context.spec;
    let any = if spec.network.ip_family == IpFamily::Ipv6 {
        "[::]"
    } else {
        "0.0.0.0"
    };
    let mut config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": conf},
        "clusterCIDR": Context::joined(&spec.network.pod_cidrs),
        "hostnameOverride": builder.node.name,
        "healthzBindAddress": format!("{any}:10256"),
        "metricsBindAddress": "127.0.0.1:10249",
        // The table's size is the host kernel's and cannot be set from a network namespace.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "1h"},
    });
    if !spec.feature_gates.is_empty() {
        config["featureGates"] = json!(spec.feature_gates);
    }
    merge(&mut config, &changed.config);
    format!("{config:#}\n")
}
