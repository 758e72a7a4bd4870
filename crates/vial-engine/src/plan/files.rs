//! Files of nodes and the certificates they hold, named but not yet made.

use std::net::IpAddr;

use super::Context;
use super::registry::{REGISTRY, registry_addresses};
use sha2::{Digest as _, Sha256};

/// A certificate authority of a cluster. There are three, because each of them opens another door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ca {
    /// Signs what the API server and the kubelets believe.
    Cluster,
    /// Signs what etcd believes: only the API server.
    Etcd,
    /// Signs what may speak for others (aggregation): only the API server's proxy.
    FrontProxy,
}

impl Ca {
    /// Its file's stem: `ca`, `etcd-ca`, `front-proxy-ca`.
    #[must_use]
    pub fn stem(self) -> &'static str {
        match self {
            Self::Cluster => "ca",
            Self::Etcd => "etcd-ca",
            Self::FrontProxy => "front-proxy-ca",
        }
    }
}

/// A certificate to issue.
#[derive(Debug, Clone, PartialEq)]
pub struct LeafPlan {
    /// Who signs.
    pub ca: Ca,
    /// Subject CN: the user's name for Kubernetes.
    pub common_name: String,
    /// Subject O: the user's groups for Kubernetes.
    pub organizations: Vec<String>,
    /// Names a server may be called by.
    pub dns_names: Vec<String>,
    /// Addresses a server may be called by.
    pub addresses: Vec<IpAddr>,
    /// May be presented by a server.
    pub server: bool,
    /// May be presented by a client.
    pub client: bool,
}

impl LeafPlan {
    /// A client of the API (or of etcd).
    pub(super) fn client(ca: Ca, common_name: impl Into<String>, organizations: &[&str]) -> Self {
        Self {
            ca,
            common_name: common_name.into(),
            organizations: organizations.iter().map(ToString::to_string).collect(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            server: false,
            client: true,
        }
    }

    /// A server under these names and addresses.
    pub(super) fn server(
        ca: Ca,
        common_name: impl Into<String>,
        dns_names: Vec<String>,
        addresses: Vec<IpAddr>,
    ) -> Self {
        Self {
            dns_names,
            addresses,
            server: true,
            client: false,
            ..Self::client(ca, common_name, &[])
        }
    }
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// This text.
    Text(String),
    /// The certificate of an authority, PEM.
    CaCertificate(Ca),
    /// The key of an authority, PEM.
    CaKey(Ca),
    /// The certificate of this name in [`Plan::leaves`](super::Plan::leaves), PEM.
    Certificate(String),
    /// Its key, PEM.
    Key(String),
    /// The key that signs service-account tokens, PEM.
    ServiceAccountKey,
    /// Its public half, PEM.
    ServiceAccountPublicKey,
    /// A kubeconfig for `server` with the certificate of this name.
    Kubeconfig {
        /// Name in [`Plan::leaves`](super::Plan::leaves).
        leaf: String,
        /// `https://…`.
        server: String,
    },
    /// The ssh host key of this node, OpenSSH format.
    SshHostKey(String),
    /// The public key of the cluster's person, one line.
    SshAuthorizedKey,
}

/// One file of a container.
#[derive(Debug, Clone, PartialEq)]
pub struct FilePlan {
    /// Absolute, in the container.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: Content,
}

/// A file anybody in the container may read.
pub(super) fn public(path: impl Into<String>, content: Content) -> FilePlan {
    FilePlan {
        path: path.into(),
        mode: 0o644,
        content,
    }
}

/// A file only root may read.
pub(super) fn private(path: impl Into<String>, content: Content) -> FilePlan {
    FilePlan {
        path: path.into(),
        mode: 0o600,
        content,
    }
}

/// The certificate and the key of a leaf, at `STEM.crt` and `STEM.key`.
pub(super) fn pair(stem: &str, leaf: &str) -> [FilePlan; 2] {
    [
        public(format!("{stem}.crt"), Content::Certificate(leaf.to_owned())),
        private(format!("{stem}.key"), Content::Key(leaf.to_owned())),
    ]
}

/// Name of the certificate of the person who made the cluster.
pub const ADMIN: &str = "admin";

/// Certificates that belong to no node.
pub(super) fn cluster_leaves() -> [(String, LeafPlan); 1] {
    [(
        ADMIN.to_owned(),
        LeafPlan::client(Ca::Cluster, "vial:admin", &["system:masters"]),
    )]
}

/// Like the one of a machine: 128 bits that no other node of this machine has, the same at every start.
pub(super) fn machine_id(context: &Context<'_>, host: &str) -> String {
    let digest = Sha256::digest(format!("{}/{host}", context.spec.name));
    let bytes = digest.iter().take(16);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// The files every container has: who it is and where names are looked up.
pub(super) fn identity(context: &Context<'_>, host: &str) -> Vec<FilePlan> {
    let family = context.spec.network.ip_family;
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for other in &context.spec.nodes {
        for address in other.addresses(family) {
            hosts.push_str(&format!("{address} {}\n", other.name));
        }
    }
    for address in registry_addresses(family) {
        hosts.push_str(&format!("{address} {REGISTRY}.vial\n"));
    }
    let nameserver = super::network::gateways(family)
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let machine_id = machine_id(context, host);
    vec![
        public("/etc/machine-id", Content::Text(format!("{machine_id}\n"))),
        public("/etc/hosts", Content::Text(hosts)),
        public("/etc/hostname", Content::Text(format!("{host}\n"))),
        public(
            "/etc/resolv.conf",
            Content::Text(format!(
                "nameserver {nameserver}\noptions timeout:2 attempts:2\n"
            )),
        ),
    ]
}
