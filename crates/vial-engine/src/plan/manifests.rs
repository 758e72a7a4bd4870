//! vial's own objects: rights of components, DNS, the default StorageClass.
//!
//! Node objects are not among them: they have a life of their own, see [`crate::execute`].

use serde_json::json;
use vial_spec::{ClusterSpec, ComponentConfig};

use super::args::Args;
use super::component::{KUBELET_CLIENT, LOCAL_PATH_NAMESPACE, PROVISIONER};
use super::network::gateways;

/// The image that the node image holds.
const COREDNS_IMAGE: &str = "registry.k8s.io/coredns/coredns:v1.14.7";

/// What kubelets and kube-proxies need of the API: the former are authorized as nodes.
pub(super) const NODES: &str = include_str!("manifests/nodes.yaml");

/// All the others as one YAML stream.
pub(super) fn bootstrap(spec: &ClusterSpec, kubernetes: &str) -> String {
    let replicas = if spec.nodes.len() > 1 { 2 } else { 1 };
    let services: Vec<_> = spec
        .dns_service_ips()
        .iter()
        .map(ToString::to_string)
        .collect();
    let config = spec.components.get("coredns").cloned().unwrap_or_default();
    let args = Args::default()
        .set("conf", "/etc/coredns/Corefile")
        .overlaid(&config);
    let dns = include_str!("manifests/coredns.yaml")
        .replace("{{args}}", &json!(args.flags("-")).to_string())
        .replace("{{env}}", &coredns_env(&config))
        .replace("{{image}}", COREDNS_IMAGE)
        .replace("{{replicas}}", &replicas.to_string())
        .replace(
            "{{upstream}}",
            &gateways(spec.network.ip_family)
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        )
        .replace("{{clusterIP}}", services.first().map_or("", String::as_str))
        .replace("{{clusterIPs}}", &json!(services).to_string())
        .replace("{{ipFamilies}}", &families(spec))
        .replace(
            "{{ipFamilyPolicy}}",
            if services.len() > 1 {
                "RequireDualStack"
            } else {
                "SingleStack"
            },
        );
    let rights =
        include_str!("manifests/rights.yaml").replace("{{kubelet-client}}", KUBELET_CLIENT);
    let storage = include_str!("manifests/storage.yaml")
        .replace("{{provisioner}}", PROVISIONER)
        .replace("{{namespace}}", LOCAL_PATH_NAMESPACE);
    let version = if has_mutating_policies(kubernetes) {
        "v1"
    } else {
        "v1beta1"
    };
    let images = include_str!("manifests/images.yaml").replace("{{version}}", version);
    [rights, dns, storage, images].join("---\n")
}

/// The variables of the container, as JSON, which is YAML.
fn coredns_env(config: &ComponentConfig) -> String {
    let variables = config.env.iter();
    let variables: Vec<_> = variables
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!(variables).to_string()
}

/// Mutating admission policies became stable, and are on by default, with Kubernetes 1.36.
pub(super) fn has_mutating_policies(kubernetes: &str) -> bool {
    minor(kubernetes) >= 36
}

/// 36 of `v1.36.3`; 0 of what is no version.
pub(super) fn minor(kubernetes: &str) -> u32 {
    let minor = kubernetes.trim_start_matches("v1.").split('.').next();
    minor.and_then(|minor| minor.parse().ok()).unwrap_or(0)
}

fn families(spec: &ClusterSpec) -> String {
    let families: Vec<_> = spec
        .network
        .service_cidrs
        .iter()
        .map(|cidr| {
            if cidr.addr().is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            }
        })
        .collect();
    json!(families).to_string()
}
