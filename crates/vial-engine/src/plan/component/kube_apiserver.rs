//! kube-apiserver, with the security that conformance expects: RBAC and Node authorizers, NodeRestriction, front proxy.

use super::super::manifests::has_mutating_policies;
use super::{
    API_PORT, Args, Builder, Ca, Component, Content, Context, LeafPlan, PKI, Stage, files, https,
};

/// Who the API server is to a kubelet; bound to `system:kubelet-api-admin` by vial's own objects.
pub(in crate::plan) const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

pub(super) fn add(builder: &mut Builder<'_>) {
    let spec = builder.context.spec;
    let family = spec.network.ip_family;
    let mut addresses = builder.node.addresses(family);
    addresses.extend(spec.kubernetes_service_ips());
    addresses.push(std::net::Ipv4Addr::LOCALHOST.into());
    addresses.push(std::net::Ipv6Addr::LOCALHOST.into());
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut names: Vec<String> = names.map(str::to_owned).into();
    names.extend(["localhost".to_owned(), builder.node.name.clone()]);
    let own = |name: &str| builder.own(name);
    let (serving, kubelet, etcd, proxy) = (
        own("kube-apiserver"),
        own("apiserver-kubelet"),
        own("apiserver-etcd"),
        own("front-proxy-client"),
    );

    let ca = format!("{PKI}/ca.crt");
    let etcd_ca = format!("{PKI}/etcd-ca.crt");
    let proxy_ca = format!("{PKI}/front-proxy-ca.crt");
    let sa_key = format!("{PKI}/sa.key");
    let sa_pub = builder.file(files::public(
        format!("{PKI}/sa.pub"),
        Content::ServiceAccountPublicKey,
    ));
    let leaf = LeafPlan::server(Ca::Cluster, "kube-apiserver", names, addresses);
    let [cert, key] = builder.leaf("apiserver", serving, leaf);
    let leaf = LeafPlan::client(Ca::Cluster, KUBELET_CLIENT, &[]);
    let [kubelet_cert, kubelet_key] = builder.leaf("apiserver-kubelet-client", kubelet, leaf);
    let leaf = LeafPlan::client(Ca::Etcd, "kube-apiserver-etcd-client", &[]);
    let [etcd_cert, etcd_key] = builder.leaf("apiserver-etcd-client", etcd, leaf);
    let leaf = LeafPlan::client(Ca::FrontProxy, "front-proxy-client", &[]);
    let [proxy_cert, proxy_key] = builder.leaf("front-proxy-client", proxy, leaf);

    let advertise = builder
        .node
        .addresses(family)
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut args = Args::default()
        .set("advertise-address", advertise)
        .set("allow-privileged", "true")
        .set("authorization-mode", "Node,RBAC")
        .set(
            "bind-address",
            if family == vial_spec::IpFamily::Ipv4 {
                "0.0.0.0"
            } else {
                "::"
            },
        )
        .set("secure-port", API_PORT.to_string())
        .set("client-ca-file", &ca)
        .set("enable-admission-plugins", "NodeRestriction")
        .set("etcd-servers", "https://127.0.0.1:2379")
        .set("etcd-cafile", &etcd_ca)
        .set("etcd-certfile", &etcd_cert)
        .set("etcd-keyfile", &etcd_key)
        .set("kubelet-certificate-authority", &ca)
        .set("kubelet-client-certificate", &kubelet_cert)
        .set("kubelet-client-key", &kubelet_key)
        .set("kubelet-preferred-address-types", "InternalIP,Hostname")
        .set("proxy-client-cert-file", &proxy_cert)
        .set("proxy-client-key-file", &proxy_key)
        .set("requestheader-allowed-names", "front-proxy-client")
        .set("requestheader-client-ca-file", &proxy_ca)
        .set("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .set("requestheader-group-headers", "X-Remote-Group")
        .set("requestheader-username-headers", "X-Remote-User")
        .set(
            "service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
        )
        .set("service-account-key-file", &sa_pub)
        .set("service-account-signing-key-file", &sa_key)
        .set(
            "service-cluster-ip-range",
            Context::joined(&spec.network.service_cidrs),
        )
        .set("tls-cert-file", &cert)
        .set("tls-private-key-file", &key);
    if has_mutating_policies(&builder.context.facts.image.kubernetes) {
        args = args.feature_gates(&[], builder.context);
    } else {
        args = args
            .feature_gates(&["MutatingAdmissionPolicy=true"], builder.context)
            .set(
                "runtime-config",
                "admissionregistration.k8s.io/v1beta1=true",
            );
    }
    builder.add(Component {
        name: "kube-apiserver",
        args,
        argv: None,
        reads: vec![
            ca,
            etcd_ca,
            proxy_ca,
            sa_key,
            sa_pub,
            cert,
            key,
            kubelet_cert,
            kubelet_key,
            etcd_cert,
            etcd_key,
            proxy_cert,
            proxy_key,
        ],
        ready: Some(https(&format!("https://127.0.0.1:{API_PORT}/readyz"))),
        after: &["etcd"],
        stage: Stage::Boot,
    });
}
