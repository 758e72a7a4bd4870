//! kube-scheduler.

use super::{Args, Builder, Ca, Component, LeafPlan, PKI, Stage, https};

const NAME: &str = "kube-scheduler";

pub(super) fn add(builder: &mut Builder<'_>) {
    let conf = builder.kubeconfig(
        "scheduler",
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
    let [cert, key] = builder.leaf("scheduler", builder.own("kube-scheduler-serving"), leaf);
    let args = Args::default()
        .set("authentication-kubeconfig", &conf)
        .set("authorization-kubeconfig", &conf)
        .set("bind-address", "127.0.0.1")
        .set("client-ca-file", format!("{PKI}/ca.crt"))
        .set("kubeconfig", &conf)
        .set("leader-elect", "false")
        .set(
            "requestheader-client-ca-file",
            format!("{PKI}/front-proxy-ca.crt"),
        )
        .set("tls-cert-file", &cert)
        .set("tls-private-key-file", &key)
        .feature_gates(&[], builder.context);
    builder.add(Component {
        name: NAME,
        args,
        argv: None,
        reads: vec![conf, cert, key],
        ready: Some(https("https://127.0.0.1:10259/readyz")),
        after: &["kube-apiserver"],
        stage: Stage::Boot,
    });
}
