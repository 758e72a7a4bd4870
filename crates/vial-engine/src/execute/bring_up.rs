//! From an empty sandbox (or a half-made, or a living one) to nodes that are Ready.
//!
//! ```text
//! network ─┬─ NODE.machine: QEMU → the guest's agent, where a node is a machine
//!          ├─ cp-1.control-plane: etcd → apiserver ─┬─ serves: Node objects (registered) → vial's objects ─┬─ joined
//!          │                                        └─ ready: controller manager, scheduler ──────────────┘
//!          ├─ NODE.node: containerd, sshd → loaded images → (registered) kubelet, kube-proxy → Ready
//!          ├─ …                                             (joined) the person's manifests, DNS
//!          └─ registry
//! ```
//! A thaw goes the same way, but for the control plane, which is brought back from its dump instead of started; the API
//! holds what it held, so that nobody waits for Node objects. What else changes with it: readiness of nodes and of DNS
//! is old news until it is told again.

use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::runtime::wait::await_condition;
use tokio::sync::SetOnce;
use vial_rpc::init_client::InitClient;
use vial_sandbox::Sandbox;
use vial_spec::Cni;

use super::container::{Container, READY, patience};
use super::stop::{self, Stop};
use super::{Prepared, machine, remove};
use crate::freeze::namespace::forget_dump;
use crate::images;
use crate::kube_api;
use crate::paths::Paths;
use crate::plan::{ContainerPlan, NodePlan, REGISTRY, Stage};
use crate::progress::{Progress, Reporter, step};
use crate::{Error, Result};

/// Brings the sandbox's network to the planned state: the first thing, since what is served in it needs its addresses.
///
/// # Errors
/// When the first process of the sandbox refuses.
pub async fn connect(prepared: &Prepared, sandbox: &dyn Sandbox, report: &Reporter) -> Result<()> {
    step(report, None, "network", "connect the nodes", async {
        let mut init = InitClient::new(sandbox.init().await?);
        let network = prepared.plan.network.clone();
        init.apply_network(network)
            .await
            .map_err(Error::rpc("cannot connect the nodes"))
    })
    .await?;
    Ok(())
}

/// What the control plane begins from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// Its disks.
    Disks,
    /// Its dump.
    Dump {
        objects: Objects,
        otherwise: Otherwise,
        /// When the thaw began.
        since: jiff::Timestamp,
    },
}

/// What becomes of vial's objects, and of the manifests, in a thawed cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objects {
    /// They are those that were frozen.
    AsFrozen,
    /// They are applied again: the specification differs from the frozen one's.
    Apply,
}

/// What becomes of a thaw when the control plane cannot be brought back from its dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// It fails, with the reason.
    Fail,
    /// The control plane starts from its disks, and the reason is told.
    StartFromDisks,
}

/// What every branch looks at.
struct Work<'a> {
    paths: &'a Paths,
    prepared: &'a Prepared,
    sandbox: &'a dyn Sandbox,
    report: &'a Reporter,
    begin: Begin,
    /// Set once the API holds the Node objects and the rights of what runs on nodes.
    registered: SetOnce<()>,
    /// Set once the API is ready and holds vial's objects.
    joined: SetOnce<kube::Client>,
}

/// Brings everything up. The API must be reachable at the record's loopback port meanwhile.
///
/// # Errors
/// The first thing that failed; what was made stays.
pub async fn bring_up(
    paths: &Paths,
    prepared: &Prepared,
    sandbox: &dyn Sandbox,
    report: &Reporter,
) -> Result<()> {
    for change in &prepared.changes {
        report(change.note());
    }
    bring(paths, prepared, sandbox, report, Begin::Disks).await
}

/// As [`bring_up`] in a new sandbox, of a cluster whose disks and dump were laid by [`lay`](crate::freeze::namespace::lay).
/// What differs from the frozen cluster's plan is restarted.
///
/// # Errors
/// The first thing that failed; what was made stays.
pub async fn thaw(
    paths: &Paths,
    prepared: &Prepared,
    sandbox: &dyn Sandbox,
    objects: Objects,
    otherwise: Otherwise,
    report: &Reporter,
) -> Result<()> {
    let begin = Begin::Dump {
        objects,
        otherwise,
        since: jiff::Timestamp::now(),
    };
    bring(paths, prepared, sandbox, report, begin).await
}

async fn bring(
    paths: &Paths,
    prepared: &Prepared,
    sandbox: &dyn Sandbox,
    report: &Reporter,
    begin: Begin,
) -> Result<()> {
    let work = Work {
        paths,
        prepared,
        sandbox,
        report,
        begin,
        registered: SetOnce::new(),
        joined: SetOnce::new(),
    };
    let nodes = try_join_all(prepared.plan.running().map(|node| work.node(node)));
    tokio::try_join!(
        nodes,
        work.stopped(),
        work.removed(),
        work.registry(),
        work.objects(),
        work.system_pods()
    )?;
    Ok(())
}

impl Work<'_> {
    /// What of stopped nodes still runs, because whoever stopped them was cut off.
    async fn stopped(&self) -> Result<()> {
        let plan = &self.prepared.plan;
        let nodes = plan.stopped.iter().filter_map(|name| plan.node(name));
        stop::stop(self.sandbox, nodes, Stop::Orderly, self.report).await
    }

    /// What is left of nodes that are not wanted any more.
    async fn removed(&self) -> Result<()> {
        let plan = &self.prepared.plan;
        for name in remove::unwanted(self.paths, plan, self.sandbox).await? {
            let client = self.joined.wait().await;
            let cluster = &self.prepared.record.name;
            remove::node(
                self.paths,
                cluster,
                client,
                self.sandbox,
                &name,
                self.report,
            )
            .await?;
        }
        Ok(())
    }

    async fn node(&self, node: &NodePlan) -> Result<()> {
        let (machine, containers): (Vec<_>, Vec<_>) = node
            .containers
            .iter()
            .partition(|container| container.spec.name.ends_with(".machine"));
        for container in machine {
            self.machine(node, container).await?;
        }
        let branches = containers.into_iter().map(|one| self.container(node, one));
        try_join_all(branches).await.map(|_| ())
    }

    /// Makes a container and starts what it holds: the control plane, what makes a node of it, or both.
    async fn container(&self, node: &NodePlan, plan: &ContainerPlan) -> Result<()> {
        let name = Some(node.config.name.as_str());
        let has = |name| plan.components.iter().any(|one| one.spec.name == name);
        let (is_control_plane, is_node) = (has("etcd"), has("containerd"));
        let (id, text) = match is_node {
            true => ("container", "make the node's container"),
            false => ("control-plane", "make the control plane's container"),
        };
        let start = Container::start(self.sandbox, &self.prepared.pki, plan);
        let container = step(self.report, name, id, text, start).await?;
        if is_control_plane {
            self.restore(node, &container).await?;
        }
        container.apply(Stage::Boot).await?;
        let control_plane = async {
            match is_control_plane {
                true => self.control_plane(node, &container).await,
                false => Ok(()),
            }
        };
        let worker = async {
            match is_node {
                true => self.worker(node, &container).await,
                false => Ok(()),
            }
        };
        tokio::try_join!(control_plane, worker).map(|_| ())
    }

    /// Starts a virtual machine, and waits until its guest's agent answers.
    async fn machine(&self, node: &NodePlan, plan: &ContainerPlan) -> Result<()> {
        let name = Some(node.config.name.as_str());
        let text = "start the virtual machine";
        step(self.report, name, "machine", text, async {
            let (cluster, node) = (&self.prepared.record.name, &node.config.name);
            let logs = machine::Logs::of(self.paths, cluster, node);
            let pki = &self.prepared.pki;
            machine::start(&logs, self.sandbox, pki, plan, self.report)
                .await
                .map_err(|error| machine::failed(&logs, node, error))
        })
        .await
    }

    /// Brings the control plane back from its dump, where that is how it begins.
    async fn restore(&self, node: &NodePlan, container: &Container<'_>) -> Result<()> {
        let Begin::Dump { otherwise, .. } = self.begin else {
            return Ok(());
        };
        let name = Some(node.config.name.as_str());
        let text = "bring the control plane back";
        let restored = step(self.report, name, "restore", text, container.restore()).await;
        // Processes come out of it once only; what is left of it would be nobody's.
        forget_dump(self.paths, &self.prepared.record.name, &self.prepared.plan);
        match restored {
            Err(error) if otherwise == Otherwise::StartFromDisks => {
                let text = format!("the control plane starts anew: {}", error.line());
                (self.report)(Progress::note(text));
                Ok(())
            }
            restored => restored,
        }
    }

    async fn control_plane(&self, node: &NodePlan, container: &Container<'_>) -> Result<()> {
        self.ready(node, container, "etcd").await?;
        let controllers = async {
            self.ready(node, container, "kube-apiserver").await?;
            tokio::try_join!(
                self.ready(node, container, "kube-controller-manager"),
                self.ready(node, container, "kube-scheduler")
            )
        };
        let (client, _) = tokio::try_join!(self.objects_of_vial(node), controllers)?;
        // Set once: there is one first control-plane node.
        let _ = self.joined.set(client);
        container.apply(Stage::Joined).await?;
        self.ready(node, container, "local-path-provisioner").await
    }

    /// Whether the API holds all of vial's objects, and the person's, already.
    fn has_objects(&self) -> bool {
        let objects = Objects::AsFrozen;
        matches!(self.begin, Begin::Dump { objects: found, .. } if found == objects)
    }

    /// Node objects, and vial's own, as soon as the API takes them. Ends with the start of the API server, if that fails.
    async fn objects_of_vial(&self, control_plane: &NodePlan) -> Result<kube::Client> {
        let plan = &self.prepared.plan;
        let client = kube_api::client(&self.prepared.admin_kubeconfig()?).await?;
        if self.has_objects() {
            // They are in the store: whoever asks too early asks again.
            let _ = self.registered.set(());
            kube_api::wait_serving(&client).await;
            return Ok(client);
        }
        kube_api::wait_serving(&client).await;
        let creating = async {
            let nodes = plan.spec.nodes.iter();
            let nodes = nodes.map(|node| kube_api::ensure_node(&client, &plan.spec, node));
            let rights = kube_api::apply(&client, "the rights of nodes", plan.rights);
            tokio::try_join!(try_join_all(nodes), rights)?;
            let _ = self.registered.set(());
            kube_api::apply(&client, "vial's own objects", &plan.bootstrap).await?;
            self.names_of_loaded_images(&client).await;
            Ok::<_, Error>(())
        };
        let name = Some(control_plane.config.name.as_str());
        let text = "create vial's objects in the API";
        step(self.report, name, "objects", text, creating).await?;
        Ok(client)
    }

    async fn worker(&self, node: &NodePlan, container: &Container<'_>) -> Result<()> {
        let name = Some(node.config.name.as_str());
        let kubernetes = async {
            self.ready(node, container, "containerd").await?;
            self.loaded_images(node).await;
            self.registered.wait().await;
            container.apply(Stage::Registered).await?;
            tokio::try_join!(
                self.ready(node, container, "kubelet"),
                self.ready(node, container, "kube-proxy")
            )
        };
        tokio::try_join!(kubernetes, self.ready(node, container, "sshd"))?;
        let client = self.joined.wait().await;
        if self.prepared.plan.spec.network.cni == Cni::None {
            return Ok(());
        }
        let waiting = async {
            let (name, patience) = (&node.config.name, container.patience());
            if let Begin::Dump { since, .. } = self.begin {
                kube_api::wait_node_reports(client, name, since, patience).await?;
            }
            kube_api::wait_node_ready(client, name, patience).await
        };
        step(
            self.report,
            name,
            "ready",
            "wait until the node is Ready",
            waiting,
        )
        .await
    }

    /// What was loaded into the cluster before this node was there, or while it was down. A node without them is still a
    /// node: `vial image load` brings them later.
    async fn loaded_images(&self, node: &NodePlan) {
        let cluster = images::Cluster {
            paths: self.paths,
            name: &self.prepared.record.name,
            plan: &self.prepared.plan,
            sandbox: self.sandbox,
        };
        if let Err(error) = images::deliver_to(cluster, node, self.report).await {
            let text = format!("{} lacks loaded images: {}", node.config.name, error.line());
            (self.report)(Progress::note(text));
        }
    }

    /// Of images that were loaded while the cluster was stopped the API has not heard.
    async fn names_of_loaded_images(&self, client: &kube::Client) {
        let store = self.paths.image_store(&self.prepared.record.name);
        if store.images().is_ok_and(|images| images.is_empty()) {
            return;
        }
        if let Err(error) = images::pulling::tell(client, &store).await {
            let text = format!("pods may be pulled for loaded images: {}", error.line());
            (self.report)(Progress::note(text));
        }
    }

    async fn ready(
        &self,
        node: &NodePlan,
        container: &Container<'_>,
        component: &str,
    ) -> Result<()> {
        let name = Some(node.config.name.as_str());
        step(
            self.report,
            name,
            component,
            format!("start {component}"),
            container.ready(component),
        )
        .await
    }

    /// Beside the nodes: none of them waits for it.
    async fn registry(&self) -> Result<()> {
        step(self.report, None, REGISTRY, "start the registry", async {
            let (pki, plan) = (&self.prepared.pki, &self.prepared.plan.registry);
            let container = Container::start(self.sandbox, pki, plan).await?;
            container.apply(Stage::Boot).await?;
            container.ready(REGISTRY).await
        })
        .await
    }

    /// The person's manifests, in their order.
    async fn objects(&self) -> Result<()> {
        let client = self.joined.wait().await;
        if self.has_objects() {
            return Ok(());
        }
        for manifest in &self.prepared.plan.spec.manifests {
            let id = format!("manifest {}", manifest.name);
            let applying = kube_api::apply(client, &manifest.name, &manifest.content);
            step(
                self.report,
                None,
                &id,
                format!("apply {}", manifest.name),
                applying,
            )
            .await?;
        }
        Ok(())
    }

    /// DNS, which every pod expects.
    async fn system_pods(&self) -> Result<()> {
        if self.prepared.plan.spec.network.cni == Cni::None {
            let text = "cni is none: nodes become Ready, and DNS starts, once a network add-on is installed";
            (self.report)(Progress::note(text));
            return Ok(());
        }
        let containers = self.prepared.plan.containers();
        let limit = containers.map(patience).max().unwrap_or(READY);
        let client = self.joined.wait().await;
        if let Begin::Dump { since, .. } = self.begin {
            let waiting = kube_api::wait_dns_runs(client, since, limit);
            let text = "wait for the cluster's DNS";
            return step(self.report, None, "dns", text, waiting).await;
        }
        let api: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
        // One of two: names are answered from here on, and the other is a second behind at most.
        let available = |deployment: Option<&Deployment>| {
            let status = deployment.and_then(|deployment| deployment.status.as_ref());
            let pods = status.and_then(|status| status.available_replicas);
            pods.unwrap_or(0) > 0
        };
        let waiting = async {
            match tokio::time::timeout(limit, await_condition(api, "coredns", available)).await {
                Ok(Ok(_)) => Ok(()),
                _ => Err(Error::Timeout {
                    what: "deployment kube-system/coredns is not available".into(),
                    seconds: limit.as_secs(),
                    detail: String::new(),
                }),
            }
        };
        step(
            self.report,
            None,
            "dns",
            "wait for the cluster's DNS",
            waiting,
        )
        .await
    }
}
