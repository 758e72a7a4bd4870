//! etcd: the store, reachable only with a certificate of its own authority.

use super::{Args, Builder, Ca, Component, Content, LeafPlan, PKI, Stage, files, http};

pub(super) fn add(builder: &mut Builder<'_>) {
    let name = builder.node.name.clone();
    let mut addresses = builder
        .node
        .addresses(builder.context.spec.network.ip_family);
    addresses.push(std::net::Ipv4Addr::LOCALHOST.into());
    let ca = builder.file(files::public(
        format!("{PKI}/etcd-ca.crt"),
        Content::CaCertificate(Ca::Etcd),
    ));
    let leaf = LeafPlan::server(
        Ca::Etcd,
        &name,
        vec!["localhost".into(), name.clone()],
        addresses,
    );
    // A member is a server to clients and a client to its peers.
    let leaf = LeafPlan {
        client: true,
        ..leaf
    };
    let [cert, key] = builder.leaf("etcd", builder.own("etcd"), leaf);
    let client = format!("https://{}:2379", builder.context.primary(builder.node));
    let mut args = Args::default()
        .set("name", &name)
        .set("data-dir", "/var/lib/etcd/data")
        .set(
            "listen-client-urls",
            format!("https://127.0.0.1:2379,{client}"),
        )
        .set("advertise-client-urls", client)
        .set("listen-peer-urls", "https://127.0.0.1:2380")
        .set("initial-advertise-peer-urls", "https://127.0.0.1:2380")
        .set("initial-cluster", format!("{name}=https://127.0.0.1:2380"))
        .set("listen-metrics-urls", "http://127.0.0.1:2381")
        // A member without peers elects itself after up to one election timeout; by default that is a second.
        .set("heartbeat-interval", "10")
        .set("election-timeout", "100")
        .set("cert-file", &cert)
        .set("key-file", &key)
        .set("client-cert-auth", "true")
        .set("trusted-ca-file", &ca)
        .set("peer-cert-file", &cert)
        .set("peer-key-file", &key)
        .set("peer-client-cert-auth", "true")
        .set("peer-trusted-ca-file", &ca);
    if !builder.context.spec.etcd.fsync {
        args = args.set("unsafe-no-fsync", "true");
    }
    builder.add(Component {
        name: "etcd",
        args,
        argv: None,
        reads: vec![cert, key, ca],
        ready: Some(http("http://127.0.0.1:2381/readyz")),
        after: &[],
        stage: Stage::Boot,
    });
}
