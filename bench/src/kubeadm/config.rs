//! What kubeadm is told: the files that kind generates, for vial's addresses (kubeadm-config.v1beta4).

use std::net::IpAddr;

use vial_image::NodeImage;
use vial_spec::{ClusterSpec, NodeConfig, Role};

/// Lives as long as a race, in a sandbox that nobody else reaches; kind's is fixed too.
const TOKEN: &str = "abcdef.0123456789abcdef";

/// For `kubeadm init` on cp-1.
pub(super) fn init(spec: &ClusterSpec, image: &NodeImage) -> String {
    let network = &spec.network;
    let dns = image
        .components
        .iter()
        .find(|component| component.name.contains("/coredns:"))
        .and_then(|component| component.name.rsplit_once(':'))
        .map_or("latest", |(_, tag)| tag);
    let node = control_plane(spec);
    serde_json::json!([
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "InitConfiguration",
            "bootstrapTokens": [{"token": TOKEN, "ttl": "1h0m0s"}],
            "localAPIEndpoint": {"advertiseAddress": addresses(spec, node)[0], "bindPort": 6443},
            "nodeRegistration": registration(spec, node),
        },
        {
            "apiVersion": "kubeadm.k8s.io/v1beta4",
            "kind": "ClusterConfiguration",
            "kubernetesVersion": image.kubernetes,
            "clusterName": spec.name,
            "networking": {"podSubnet": joined(&network.pod_cidrs), "serviceSubnet": joined(&network.service_cidrs)},
            // Pods' addresses are those of vial's plan.
            "controllerManager": {"extraArgs": [{"name": "allocate-node-cidrs", "value": "false"}]},
            "dns": {"imageRepository": "registry.k8s.io/coredns", "imageTag": dns},
        },
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": false,
            "failSwapOn": false,
            "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
            "imageGCHighThresholdPercent": 100,
        },
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "conntrack": {"maxPerCore": 0},
        },
    ])
    .as_array()
    .into_iter()
    .flatten()
    .map(|document| format!("{document}\n---\n"))
    .collect()
}

/// For `kubeadm join` on a worker.
pub(super) fn join(spec: &ClusterSpec, node: &str) -> String {
    let api = addresses(spec, control_plane(spec))[0];
    let node = spec
        .nodes
        .iter()
        .find(|other| other.name == node)
        .expect("a node of the race's own cluster");
    let document = serde_json::json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "nodeRegistration": registration(spec, node),
        "discovery": {"bootstrapToken": {
            "apiServerEndpoint": std::net::SocketAddr::new(api, 6443).to_string(),
            "token": TOKEN,
            "unsafeSkipCAVerification": true,
        }},
    });
    format!("{document}\n")
}

fn registration(spec: &ClusterSpec, node: &NodeConfig) -> serde_json::Value {
    serde_json::json!({
        "name": node.name,
        "criSocket": "unix:///run/containerd/containerd.sock",
        "kubeletExtraArgs": [{"name": "node-ip", "value": joined(&addresses(spec, node))}],
    })
}

fn control_plane(spec: &ClusterSpec) -> &NodeConfig {
    spec.nodes
        .iter()
        .find(|node| node.role == Role::ControlPlane)
        .expect("a cluster has a control plane")
}

fn addresses(spec: &ClusterSpec, node: &NodeConfig) -> Vec<IpAddr> {
    node.addresses(spec.network.ip_family)
}

fn joined<T: ToString>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(",")
}
