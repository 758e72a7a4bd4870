//! The kubeadm way: the same container nodes from the same node image, Kubernetes put on them by `kubeadm`, with the
//! control plane as static pods. It is what kind does.
//!
//! ```text
//! boot     sandbox → network → containers → containerd            measured
//! import   the images of the static pods                          not measured: kind's node image holds them
//! init     kubeadm init on cp-1, whose kubelet waits for its file  measured
//! join     kubeadm join on all workers at once                     measured
//! ```
//!
//! In kubeadm's favour: pods' addresses and routes are laid before (kind starts a network add-on after `init`), kubelets
//! start the moment their configuration is there (kind's are restarted every second until then), and the node's files
//! and directories are vial's. etcd syncs to disk, as kubeadm and kind leave it.

mod archive;
mod config;
mod exec;
mod race;

pub use race::{Race, race};

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::try_join_all;
use vial_engine::execute::{self, Birth, Prepared};
use vial_engine::paths::Paths;
use vial_engine::plan::Plan;
use vial_engine::progress::Reporter;
use vial_image::{NodeImage, Store};
use vial_rpc::agent_client::AgentClient;
use vial_rpc::{ComponentSpec, File, WriteFilesRequest};
use vial_sandbox::{Maker as _, NamespaceMaker, Sandbox, SandboxSpec};
use vial_spec::{ClusterSpec, HostMount, Overrides, Role};

use crate::Result;

/// The administrator's kubeconfig on cp-1, as kubeadm lays it.
const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// What systemd's unit does for kubelet: it is there, and runs once kubeadm has written its configuration.
const KUBELET: &str = "\
until test -s /var/lib/kubelet/kubeadm-flags.env; do sleep 0.02; done
. /var/lib/kubelet/kubeadm-flags.env
exec kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
--config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS";

/// Nodes on which kubeadm makes a cluster.
pub struct Kubeadm {
    name: String,
    paths: Paths,
    image: NodeImage,
    prepared: Prepared,
    sandbox: Arc<dyn Sandbox>,
}

impl Kubeadm {
    /// Makes the sandbox and its nodes, up to a running containerd on each. `program` is vial's binary, `kubeadm` the
    /// directory of kubeadm's, which no node image has.
    ///
    /// # Errors
    /// When the node image is missing, or a node cannot be made.
    pub async fn boot(program: PathBuf, kubeadm: &Path, name: &str, workers: u32) -> Result<Self> {
        let paths = Paths::from_env();
        let overrides = Overrides {
            name: Some(name.into()),
            workers: Some(workers),
            ..Overrides::default()
        };
        let no_files: vial_spec::validate::ReadFile<'_> =
            &|_| Err(std::io::ErrorKind::NotFound.into());
        let mut spec: ClusterSpec = vial_spec::File::default().validate(&overrides, no_files)?;
        for node in &mut spec.nodes {
            node.mounts.push(HostMount {
                host_path: kubeadm.to_string_lossy().into_owned(),
                node_path: "/opt/kubeadm".into(),
                read_only: true,
            });
        }
        let image = Store::open(&paths.home)?.find(&spec.node_image)?;
        let mut prepared = execute::prepare(&paths, &spec, Vec::new(), &image, || {
            Ok(Birth {
                uid: "kubeadm".into(),
                created: jiff::Timestamp::now().to_string(),
                api_port: 1,
                registry_port: 1,
            })
        })?;
        without_kubernetes(&mut prepared.plan);
        // As many as there are nodes, which number them through.
        let mounts = vec![(kubeadm.to_path_buf(), true); spec.nodes.len()];
        let sandbox_spec = SandboxSpec {
            program,
            mounts,
            ..execute::sandbox_spec(&paths, name)
        };
        let quiet: Reporter = Arc::new(|_| {});
        let making = async { NamespaceMaker.make(&sandbox_spec).await.map_err(Into::into) };
        let disks = execute::disks(&paths, &prepared);
        let (sandbox, ()) = tokio::try_join!(making, disks)?;
        let sandbox: Arc<dyn Sandbox> = sandbox.into();
        execute::connect(&prepared, sandbox.as_ref(), &quiet).await?;
        execute::boot(&prepared, sandbox.as_ref()).await?;
        Ok(Self {
            name: name.into(),
            paths,
            image,
            prepared,
            sandbox,
        })
    }

    /// Puts the static pods' images on every node: the node image itself under their names, for it holds the programs.
    ///
    /// # Errors
    /// When kubeadm or containerd refuses.
    pub async fn import(&self) -> Result {
        self.write(
            "cp-1",
            "/run/kubeadm.yaml",
            &config::init(&self.prepared.plan.spec, &self.image),
        )
        .await?;
        let images = self
            .run(
                "cp-1",
                &[
                    "kubeadm",
                    "config",
                    "images",
                    "list",
                    "--config=/run/kubeadm.yaml",
                ],
            )
            .await?;
        let store = self.paths.images_dir();
        let scratch = self.paths.cluster_dir(&self.name).join("kubeadm.tar");
        let names: Vec<&str> = images.lines().filter(|name| !there(name)).collect();
        archive::write(&store, &self.image, &names, &scratch)?;
        let nodes = self.nodes(None);
        for node in &nodes {
            let dir = self
                .paths
                .cluster_dir(&self.name)
                .join("nodes")
                .join(node)
                .join("volumes");
            std::fs::hard_link(&scratch, dir.join("kubeadm.tar"))?;
            let archive = "/var/lib/vial/volumes/kubeadm.tar";
            self.run(node, &["ctr", "-n", "k8s.io", "images", "import", archive])
                .await?;
            std::fs::remove_file(dir.join("kubeadm.tar"))?;
        }
        Ok(std::fs::remove_file(scratch)?)
    }

    /// `kubeadm init`.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn init(&self) -> Result {
        self.kubelet("cp-1").await?;
        self.run(
            "cp-1",
            &[
                "kubeadm",
                "init",
                "--config=/run/kubeadm.yaml",
                "--ignore-preflight-errors=all",
            ],
        )
        .await
        .map(drop)
    }

    /// `kubeadm join` on every worker at once.
    ///
    /// # Errors
    /// When one fails, with what it said.
    pub async fn join(&self) -> Result {
        let workers = self.nodes(Some(Role::Worker));
        let joining = workers.iter().map(|node| async move {
            let config = config::join(&self.prepared.plan.spec, node);
            self.write(node, "/run/kubeadm.yaml", &config).await?;
            self.kubelet(node).await?;
            self.run(
                node,
                &[
                    "kubeadm",
                    "join",
                    "--config=/run/kubeadm.yaml",
                    "--ignore-preflight-errors=all",
                ],
            )
            .await
        });
        try_join_all(joining).await.map(drop)
    }

    /// kubectl on cp-1, as administrator; gives what it printed.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let argv: Vec<&str> = ["kubectl", "--kubeconfig", ADMIN]
            .iter()
            .chain(args)
            .copied()
            .collect();
        self.run("cp-1", &argv).await
    }

    async fn kubelet(&self, node: &str) -> Result {
        let component = ComponentSpec {
            name: "kubelet".into(),
            argv: ["sh", "-c", KUBELET].map(str::to_owned).into(),
            env: [("PATH".into(), exec::PATH.into())].into(),
            log_file: "/var/log/vial/kubelet.log".into(),
            ..ComponentSpec::default()
        };
        self.agent(node).await?.apply_component(component).await?;
        Ok(())
    }

    async fn write(&self, node: &str, path: &str, text: &str) -> Result {
        let file = File {
            path: path.into(),
            content: text.as_bytes().to_vec(),
            mode: std::fs::Permissions::from_mode(0o600).mode(),
            ..File::default()
        };
        let request = WriteFilesRequest { files: vec![file] };
        self.agent(node).await?.write_files(request).await?;
        Ok(())
    }

    async fn run(&self, node: &str, argv: &[&str]) -> Result<String> {
        exec::run(self.channel(node).await?, argv)
            .await
            .map_err(|error| format!("on {node}: {error}").into())
    }

    async fn agent(&self, node: &str) -> Result<AgentClient<vial_rpc::Channel>> {
        Ok(AgentClient::new(self.channel(node).await?))
    }

    async fn channel(&self, node: &str) -> Result<vial_rpc::Channel> {
        Ok(self.sandbox.agent(&format!("{node}.node")).await?)
    }

    fn nodes(&self, role: Option<Role>) -> Vec<String> {
        let nodes = self.prepared.plan.spec.nodes.iter();
        nodes
            .filter(|node| role.is_none_or(|role| node.role == role))
            .map(|node| node.name.clone())
            .collect()
    }
}

/// Ends what an earlier race left, and this one.
///
/// # Errors
/// When something stays.
pub async fn down(name: &str) -> Result {
    let quiet: Reporter = Arc::new(|_| {});
    let paths = Paths::from_env();
    execute::down(&NamespaceMaker, &paths, name, &quiet).await?;
    // A keeper would; there is none here.
    match std::fs::remove_dir_all(paths.run_dir(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Nodes with a container runtime and a way in, nothing of Kubernetes.
fn without_kubernetes(plan: &mut Plan) {
    for node in &mut plan.nodes {
        node.containers
            .retain(|container| container.spec.name.ends_with(".node"));
        for container in &mut node.containers {
            container
                .components
                .retain(|component| ["containerd", "sshd"].contains(&component.spec.name.as_str()));
            container
                .files
                .retain(|file| !file.path.starts_with("/etc/kubernetes/"));
        }
    }
}

/// Images that are in every node image under the names that kubeadm asks for.
fn there(name: &str) -> bool {
    name.contains("/pause:") || name.contains("/coredns:")
}
