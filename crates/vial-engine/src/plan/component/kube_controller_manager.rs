//! kube-controller-manager. Pod CIDRs are fixed by the plan (they fix routes), so it allocates none.
//!
//! The cluster's name is not told, here as in every component of the control plane: one that was thawed as another
//! cluster goes on with the flags and files it had.

use super::{Args, Builder, Ca, Component, Content, Context, LeafPlan, PKI, Stage, files, https};

const NAME: &str = "kube-controller-manager";

pub(super) fn add(builder: &mut Builder<'_>) {
    let network = &builder.context.spec.network;
    let conf = builder.kubeconfig(
        "controller-manager",
        builder.own(NAME),
        format!("system:{NAME}"),
        &[],
    );
    let leaf = LeafPlan::server(
        Ca::Cluster,
        NAME,
        vec!["localhost".into()],
        vec![[127, 0, 0, 1].into()],
    );
    let [cert, key] = builder.leaf(
        "controller-manager",
        builder.own("kube-controller-manager-serving"),
        leaf,
    );
    let ca_key = builder.file(files::private(
        format!("{PKI}/ca.key"),
        Content::CaKey(Ca::Cluster),
    ));
    let ca = format!("{PKI}/ca.crt");
    let sa_key = format!("{PKI}/sa.key");
    let args = Args::default()
        .set("allocate-node-cidrs", "false")
        .set("authentication-kubeconfig", &conf)
        .set("authorization-kubeconfig", &conf)
        .set("bind-address", "127.0.0.1")
        .set("client-ca-file", &ca)
        .set("cluster-cidr", Context::joined(&network.pod_cidrs))
        .set("cluster-signing-cert-file", &ca)
        .set("cluster-signing-key-file", &ca_key)
        .set(
            "controllers",
            "*,bootstrap-signer-controller,token-cleaner-controller",
        )
        .set("flex-volume-plugin-dir", "/run/flexvolume")
        // Every controller fetches its own account and token at the start: at the default of 20 requests a second that
        // alone takes five seconds before the first Deployment is looked at.
        .set("kube-api-burst", "500")
        .set("kube-api-qps", "500")
        .set("kubeconfig", &conf)
        // One instance: electing itself would only cost a second.
        .set("leader-elect", "false")
        .set(
            "requestheader-client-ca-file",
            format!("{PKI}/front-proxy-ca.crt"),
        )
        .set("root-ca-file", &ca)
        .set("service-account-private-key-file", &sa_key)
        .set(
            "service-cluster-ip-range",
            Context::joined(&network.service_cidrs),
        )
        .set("tls-cert-file", &cert)
        .set("tls-private-key-file", &key)
        .set("use-service-account-credentials", "true")
        .feature_gates(&[], builder.context);
    builder.add(Component {
        name: NAME,
        args,
        argv: None,
        reads: vec![conf, cert, key, ca, ca_key, sa_key],
        ready: Some(https("https://127.0.0.1:10257/healthz")),
        after: &["kube-apiserver"],
        stage: Stage::Boot,
    });
}
