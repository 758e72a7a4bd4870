//! The cluster's registry: a machine of its own on the management network, with one small container.
//!
//! ```text
//! host 127.0.0.1:PORT ──keeper──┐
//! node, as 127.0.0.1:PORT ──────┼──► 10.89.0.2:5000 (registry.vial), distribution ──► clusters/NAME/registry
//! node, pod, as registry.vial ──┘
//! ```
//! It stands beside the nodes, not on one: a node that is reset or frozen takes no image with it, and a port of a node
//! stays the node's. One reference means one image on the host, on nodes and in pods' specs, because containerd is told
//! on every node that `127.0.0.1:PORT` is this machine ([`hosts_files`]).

use std::net::{IpAddr, SocketAddr};

use vial_rpc::{ComponentSpec, NodeLink};
use vial_sandbox::inside;
use vial_spec::IpFamily;

use super::component::http;
use super::containers::{ContainerPlan, base, persistent};
use super::files::{self, Content, FilePlan};
use super::network::{default_routes, gateways, on_link, pod_routes};
use super::{ComponentPlan, Context, Stage};

/// Its host name, its container's and its component's.
pub const REGISTRY: &str = "registry";
/// What it is called inside.
pub const REGISTRY_NAME: &str = "registry.vial:5000";
/// Where its files lie in the container, and below the cluster's directory as `registry`.
pub const REGISTRY_DATA: &str = "/var/lib/registry";
/// Its presence makes the next start collect garbage first. It holds the flags of `registry garbage-collect`.
pub const REGISTRY_COLLECT: &str = "/var/lib/registry/collect";

/// Where the keeper answers for public registries, at the gateway's addresses ([`super::gateways`]).
pub const MIRROR_PORT: u16 = 5001;

const PORT: u16 = 5000;
const CONFIG: &str = "/etc/vial/registry.yml";

/// Its addresses on the management network, the primary first.
#[must_use]
pub fn registry_addresses(family: IpFamily) -> Vec<IpAddr> {
    let v4 = IpAddr::from([10, 89, 0, 2]);
    let v6 = IpAddr::from([0xfd89, 0, 0, 0, 0, 0, 0, 2]);
    match family {
        IpFamily::Ipv4 => vec![v4],
        IpFamily::Ipv6 => vec![v6],
        IpFamily::Dual => vec![v4, v6],
    }
}

/// Where it listens, for the host and the nodes.
pub(super) fn target(family: IpFamily) -> Option<SocketAddr> {
    let address = *registry_addresses(family).first()?;
    Some((address, PORT).into())
}

/// Its place on the management network.
pub(super) fn link(spec: &vial_spec::ClusterSpec) -> NodeLink {
    let family = spec.network.ip_family;
    let mut routes = default_routes(family);
    // Pods ask with addresses of their own.
    routes.extend(pod_routes(spec, None));
    NodeLink {
        node: REGISTRY.into(),
        addresses: registry_addresses(family)
            .into_iter()
            .map(on_link)
            .collect(),
        routes,
        mac: String::new(),
        machine_user: 0,
        taps: Vec::new(),
    }
}

/// Its container.
pub(super) fn container(context: &Context<'_>) -> ContainerPlan {
    let disk = format!("{}/{REGISTRY}", inside::CLUSTER);
    let mounts = persistent(&disk, &[("data", REGISTRY_DATA), ("log", "/var/log")]);
    let mut plan = base(
        context,
        REGISTRY,
        REGISTRY.into(),
        format!("{disk}/root"),
        mounts,
    );
    plan.files
        .push(files::public(CONFIG, Content::Text(configuration())));
    plan.components.push(ComponentPlan {
        spec: ComponentSpec {
            name: REGISTRY.into(),
            argv: ["sh", "-c", &script()].map(str::to_owned).into(),
            env: plan.spec.env.clone(),
            log_file: format!("/var/log/vial/{REGISTRY}.log"),
            ready: Some(http(&format!("http://127.0.0.1:{PORT}/v2/"))),
            ..ComponentSpec::default()
        },
        reads: vec![CONFIG.into()],
        stage: Stage::Boot,
    });
    plan
}

/// Uploads that a registry did not live to see the end of are removed before the next one starts. Garbage is collected
/// here too, because nothing may be pushed meanwhile; cut off, it is done again.
fn script() -> String {
    indoc::formatdoc! {r#"
        repositories={REGISTRY_DATA}/docker/registry/v2/repositories
        if [ -d $repositories ]; then
          find $repositories -type d -name _uploads -prune -exec rm -rf {{}} +
        fi
        if [ -e {REGISTRY_COLLECT} ]; then
          registry garbage-collect $(cat {REGISTRY_COLLECT}) {CONFIG} && rm {REGISTRY_COLLECT}
        fi
        exec registry serve {CONFIG}
    "#}
}

/// Nobody has to prove who he is here, so `secret`, which guards the state that a client carries from one part of an
/// upload to the next, guards nothing. An upload that was begun an hour ago and is not done was given up.
fn configuration() -> String {
    indoc::formatdoc! {r#"
        version: 0.1
        log:
          level: info
          formatter: text
          accesslog:
            disabled: true
        storage:
          filesystem:
            rootdirectory: {REGISTRY_DATA}
          delete:
            enabled: true
          maintenance:
            uploadpurging:
              enabled: true
              age: 1h
              interval: 15m
              dryrun: false
        http:
          addr: :{PORT}
          secret: vial
          headers:
            X-Content-Type-Options: [nosniff]
    "#}
}

/// How containerd on a node reaches registries. Read at each pull, so no part of containerd's identity.
pub(super) fn hosts_files(context: &Context<'_>) -> Vec<FilePlan> {
    let mut files = own_hosts_files(context);
    files.extend(mirror_hosts_file(context.spec.network.ip_family));
    files
}

/// All registries but the cluster's own are asked through the keeper first. It has no `server`: where the keeper does
/// not answer, or says no, containerd goes to the registry itself.
fn mirror_hosts_file(family: IpFamily) -> Option<FilePlan> {
    let mirror = SocketAddr::from((*gateways(family).first()?, MIRROR_PORT));
    Some(files::public(
        "/etc/containerd/certs.d/_default/hosts.toml",
        Content::Text(indoc::formatdoc! {r#"
            [host."http://{mirror}"]
              capabilities = ["pull", "resolve"]
        "#}),
    ))
}

/// The cluster's registry by each of its names.
fn own_hosts_files(context: &Context<'_>) -> Vec<FilePlan> {
    let Some(target) = target(context.spec.network.ip_family) else {
        return Vec::new();
    };
    let port = context.facts.registry_port;
    [
        REGISTRY_NAME.to_owned(),
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
    ]
    .into_iter()
    .map(|name| {
        files::public(
            format!("/etc/containerd/certs.d/{name}/hosts.toml"),
            Content::Text(format!("server = \"http://{target}\"\n")),
        )
    })
    .collect()
}
