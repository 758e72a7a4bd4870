//! What runs on a node: one file a component, each with its flags, its files and its readiness.
//!
//! ```text
//! NODE.control-plane   etcd → kube-apiserver → kube-controller-manager, kube-scheduler, local-path-provisioner
//! NODE.node            containerd, sshd      → (the API holds Nodes) kubelet, kube-proxy
//! ```

mod containerd;
mod etcd;
mod kube_apiserver;
mod kube_controller_manager;
mod kube_proxy;
mod kube_scheduler;
mod kubelet;
mod local_path;
pub(super) mod qemu;
mod sshd;

use std::collections::BTreeMap;

use vial_rpc::probe::How;
use vial_rpc::{ComponentSpec, HttpProbe, Probe};
use vial_spec::{ComponentConfig, NodeConfig};

use super::args::Args;
use super::containers::ContainerPlan;
use super::files::{self, Ca, Content, LeafPlan};
use super::{ComponentPlan, Context, Stage};

pub(super) use kube_apiserver::KUBELET_CLIENT;
pub(super) use local_path::{NAMESPACE as LOCAL_PATH_NAMESPACE, PROVISIONER, VOLUMES};

/// Where the API server listens on its node.
pub(super) const API_PORT: u16 = 6443;

/// Certificates of the cluster in every container that needs some.
const PKI: &str = "/etc/kubernetes/pki";

/// A container under construction, as its components see it.
pub(super) struct Builder<'a> {
    context: &'a Context<'a>,
    node: &'a NodeConfig,
    plan: &'a mut ContainerPlan,
    leaves: &'a mut BTreeMap<String, LeafPlan>,
}

/// Plans the components of a control-plane container.
pub(super) fn control_plane(
    context: &Context<'_>,
    node: &NodeConfig,
    plan: &mut ContainerPlan,
    leaves: &mut BTreeMap<String, LeafPlan>,
) {
    let mut builder = Builder {
        context,
        node,
        plan,
        leaves,
    };
    builder.file(files::public(
        format!("{PKI}/ca.crt"),
        Content::CaCertificate(Ca::Cluster),
    ));
    builder.file(files::public(
        format!("{PKI}/front-proxy-ca.crt"),
        Content::CaCertificate(Ca::FrontProxy),
    ));
    builder.file(files::private(
        format!("{PKI}/sa.key"),
        Content::ServiceAccountKey,
    ));
    etcd::add(&mut builder);
    kube_apiserver::add(&mut builder);
    kube_controller_manager::add(&mut builder);
    kube_scheduler::add(&mut builder);
    local_path::add(&mut builder);
}

/// Plans the components of a node's container.
pub(super) fn node(
    context: &Context<'_>,
    node: &NodeConfig,
    plan: &mut ContainerPlan,
    leaves: &mut BTreeMap<String, LeafPlan>,
) {
    let mut builder = Builder {
        context,
        node,
        plan,
        leaves,
    };
    builder.file(files::public(
        format!("{PKI}/ca.crt"),
        Content::CaCertificate(Ca::Cluster),
    ));
    containerd::add(&mut builder);
    sshd::add(&mut builder);
    kubelet::add(&mut builder);
    kube_proxy::add(&mut builder);
}

/// What one component needs of its builder.
struct Component {
    name: &'static str,
    args: Args,
    /// argv that is no `--flag=value` list; replaces `args`.
    argv: Option<Vec<String>>,
    reads: Vec<String>,
    ready: Option<Probe>,
    after: &'static [&'static str],
    stage: Stage,
}

impl Builder<'_> {
    fn file(&mut self, file: files::FilePlan) -> String {
        let path = file.path.clone();
        if !self.plan.files.iter().any(|other| other.path == path) {
            self.plan.files.push(file);
        }
        path
    }

    /// Issues a certificate and lays it at `STEM.crt` and `STEM.key`; gives the two paths.
    fn leaf(&mut self, stem: &str, name: String, leaf: LeafPlan) -> [String; 2] {
        self.leaves.insert(name.clone(), leaf);
        files::pair(&format!("{PKI}/{stem}"), &name).map(|file| self.file(file))
    }

    /// A client certificate inside a kubeconfig; gives the path.
    fn kubeconfig(
        &mut self,
        stem: &str,
        name: String,
        user: impl Into<String>,
        groups: &[&str],
    ) -> String {
        self.leaves
            .insert(name.clone(), LeafPlan::client(Ca::Cluster, user, groups));
        let content = Content::Kubeconfig {
            leaf: name,
            server: self.context.api_url(),
        };
        self.file(files::private(
            format!("/etc/kubernetes/{stem}.conf"),
            content,
        ))
    }

    /// `NODE/NAME`: the name of a certificate that belongs to this node.
    fn own(&self, name: &str) -> String {
        format!("{}/{name}", self.node.name)
    }

    fn config(&self, component: &str) -> ComponentConfig {
        self.context.config(self.node, component)
    }

    fn add(&mut self, component: Component) {
        let config = self.config(component.name);
        let mut env = self.plan.spec.env.clone();
        env.extend(config.env.clone());
        without_mptcp(&mut env);
        let argv = component
            .argv
            .unwrap_or_else(|| component.args.overlaid(&config).argv(component.name));
        self.plan.components.push(ComponentPlan {
            spec: ComponentSpec {
                name: component.name.into(),
                argv,
                env,
                log_file: format!("/var/log/vial/{}.log", component.name),
                ready: component.ready,
                after: component.after.iter().map(ToString::to_string).collect(),
                ..ComponentSpec::default()
            },
            reads: component.reads,
            stage: component.stage,
        });
    }
}

/// CRIU cannot dump MPTCP sockets, which Go listens with by default. Who wants them has said so.
fn without_mptcp(env: &mut BTreeMap<String, String>) {
    const SETTING: &str = "multipathtcp";
    let settings = env.entry("GODEBUG".to_owned()).or_default();
    let mut names = settings.split(',').map(|one| one.split('=').next());
    if names.any(|name| name == Some(SETTING)) {
        return;
    }
    let separator = if settings.is_empty() { "" } else { "," };
    *settings = format!("{SETTING}=0{separator}{settings}");
}

fn probe(how: How) -> Probe {
    Probe {
        how: Some(how),
        interval_ms: 0,
    }
}

/// Ready when `http://…` answers 2xx.
pub(super) fn http(url: &str) -> Probe {
    probe(How::Http(HttpProbe {
        url: url.into(),
        ..HttpProbe::default()
    }))
}

/// Ready when `https://…`, whose certificate the cluster's authority signed, answers 2xx.
fn https(url: &str) -> Probe {
    probe(How::Http(HttpProbe {
        url: url.into(),
        ca_file: format!("{PKI}/ca.crt"),
        ..HttpProbe::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_listens_without_mptcp_unless_somebody_wants_it() {
        for (given, expected) in [
            (None, "multipathtcp=0"),
            (Some(""), "multipathtcp=0"),
            (Some("gctrace=1"), "multipathtcp=0,gctrace=1"),
            (Some("a=1,multipathtcp=1"), "a=1,multipathtcp=1"),
        ] {
            let given = given.map(|value: &str| ("GODEBUG".to_owned(), value.to_owned()));
            let mut env: BTreeMap<_, _> = given.into_iter().collect();
            without_mptcp(&mut env);
            assert_eq!(env["GODEBUG"], expected);
        }
    }
}
