//! What a keeper serves while its sandbox lives: names and public images inside, ports on the host, load balancers on both sides,
//! and names of pods for the ssh of people.
//!
//! Everything here holds sockets only; dropping a [`Services`] closes them all.

mod dns;
pub(crate) mod forward;
mod load_balancer;
mod mirror;
mod on_nodes;
mod outbound;
mod own_ports;
mod pods;

pub(crate) use dns::{read_message, write_message};
pub use mirror::REGISTRY_CACHE_BOUND;
pub(crate) use outbound::root as outbound_root;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use vial_engine::paths::Paths;
use vial_engine::plan::Plan;
use vial_sandbox::{Listener, Sandbox};
use vial_spec::ClusterSpec;

use crate::events::{self, Book};
use crate::ports::Ports;
use crate::reach::Reach;
use forward::Permits;
use on_nodes::OnNodes;
pub(crate) use own_ports::OwnPorts;
pub(crate) use pods::Pods;

/// The running services of one sandbox.
pub(crate) struct Services {
    _tasks: JoinSet<()>,
    wanted: watch::Sender<Arc<ClusterSpec>>,
    reach: Reach,
    ports: Arc<Ports>,
    pods: Pods,
    registry: OnNodes,
    closing: CancellationToken,
    _close: DropGuard,
}

impl Services {
    /// Serves API and registry on their `own` ports, DNS and a registry mirror inside, load balancers, and the way out, the program of which is
    /// below `outside`. A name server that cannot be had is logged, not fatal: addresses still work.
    pub(crate) fn start(
        sandbox: &Arc<dyn Sandbox>,
        plan: &Plan,
        own: OwnPorts,
        client: &kube::Client,
        paths: &Paths,
        outside: Option<PathBuf>,
        story: &Arc<Book>,
    ) -> io::Result<Self> {
        let mut registry = OnNodes::new(sandbox, own.registry.local_addr()?.port());
        registry.follow(plan);
        let mut tasks = JoinSet::new();
        let forwards = [
            (own.api, Permits::of_the_api(), plan.api_target()),
            (own.registry, Permits::of_a_port(), plan.registry_target()),
        ];
        for (listener, permits, target) in forwards {
            if let Some(target) = target {
                let dial = forward::direct(Arc::clone(sandbox), target);
                let listener = Listener::Tcp(listener);
                tasks.spawn(forward::serve(listener, permits, Arc::default(), dial));
            }
        }
        let (wanted, watched) = watch::channel(Arc::new(plan.spec.clone()));
        tasks.spawn(dns::serve(Arc::clone(sandbox), watched.clone()));
        tasks.spawn(mirror::serve(
            Arc::clone(sandbox),
            paths.registry_cache(),
            watched.clone(),
        ));
        tasks.spawn(outbound::serve(
            Arc::clone(sandbox),
            outside,
            watched.clone(),
            Arc::clone(story),
        ));
        tasks.spawn(events::agents::serve(
            Arc::clone(sandbox),
            watched.clone(),
            Arc::clone(story),
        ));
        tasks.spawn(events::nodes::serve(client.clone(), Arc::clone(story)));
        tasks.spawn(load_balancer::serve(
            client.clone(),
            Arc::clone(sandbox),
            paths.clone(),
            plan.spec.name.clone(),
        ));
        let (pods, asked) = Pods::line();
        tasks.spawn(pods::serve(
            client.clone(),
            paths.clone(),
            watched.clone(),
            Arc::clone(story),
            asked,
        ));
        let reach = Reach {
            sandbox: Arc::clone(sandbox),
            client: client.clone(),
            wanted: watched,
        };
        let ports = Arc::new(Ports::new(reach.clone()));
        tasks.spawn(Arc::clone(&ports).keep_trying());
        let closing = CancellationToken::new();
        Ok(Self {
            _tasks: tasks,
            wanted,
            ports,
            pods,
            reach,
            registry,
            _close: closing.clone().drop_guard(),
            closing,
        })
    }

    /// The cluster's nodes changed.
    pub(crate) fn follow(&mut self, plan: &Plan) {
        self.registry.follow(plan);
    }

    /// The cluster is wanted otherwise from now on.
    pub(crate) fn change(&self, spec: &ClusterSpec) {
        self.wanted.send_replace(Arc::new(spec.clone()));
    }

    /// How to reach into the cluster.
    pub(crate) fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// The forwarded ports.
    pub(crate) fn ports(&self) -> Arc<Ports> {
        Arc::clone(&self.ports)
    }

    /// The names of pods.
    pub(crate) fn pods(&self) -> Pods {
        self.pods.clone()
    }

    /// Cancelled when these services end: sockets into the sandbox must not outlive them.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }
}
