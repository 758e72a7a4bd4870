//! Single nodes: stopped, started, begun anew, removed, added.
//!
//! ```text
//!            stop (record: stopped)                         remove
//! running ─────────────────────────► stopped        any ──────────────► not there: as if it had never been wanted
//!         ◄───────────────────────── start          not there ──add──► running
//!    ▲  reset: disk and object go, from either state
//!    └──────────────────────────────────┘
//! ```
//! What is wanted is recorded before anything is done, so a cut is completed by the next `up`, or by doing the same again;
//! all but `stop` end with an `up` to what is recorded.

use std::collections::BTreeSet;
use std::sync::Arc;

use vial_engine::execute::{self, Stop};
use vial_engine::plan::{NodePlan, Plan};
use vial_engine::progress::{Progress, Reporter};
use vial_engine::record::{Journal, Record};
use vial_spec::names::did_you_mean;
use vial_spec::{AddError, ClusterSpec, Driver, Fashion, Role};

use crate::api::NodesRequest;
use crate::events::{About, What};
use crate::frozen;
use crate::keeper::{Keeper, View};
use crate::up::{self, Failure};

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// There is no such node.
    #[error("cluster {cluster} has no node {node:?}")]
    Unknown {
        cluster: String,
        node: String,
        names: Vec<String>,
    },
    /// Nothing was asked for.
    #[error("{0}")]
    Nothing(&'static str),
    /// Nothing of the cluster runs.
    #[error("cluster {0} does not run")]
    NotRunning(String),
    /// Nodes join by the API, which is not there.
    #[error("{node}, the control plane of cluster {cluster}, is stopped")]
    NoApi { cluster: String, node: String },
    /// What holds the cluster's state cannot go.
    #[error("{node} is the control plane of cluster {cluster}, which cannot be {what}")]
    ControlPlane {
        cluster: String,
        node: String,
        what: &'static str,
    },
    /// No worker can be added.
    #[error(transparent)]
    Workers(#[from] AddError),
}

impl Refused {
    /// The next step.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { node, names, .. } => Some(
                did_you_mean(node, names)
                    .unwrap_or_else(|| format!("there are {}", names.join(", "))),
            ),
            Self::NotRunning(cluster) => Some(format!("`vial up {cluster}` starts it")),
            Self::ControlPlane { cluster, .. } => Some(format!(
                "it holds what the cluster knows: `vial down {cluster}` and `vial up {cluster}` begin anew"
            )),
            Self::NoApi { cluster, node } => {
                Some(format!("`vial node start {node} -c {cluster}` starts it"))
            }
            Self::Nothing(_) | Self::Workers(_) => None,
        }
    }
}

/// Does what was asked for. Nothing is changed when it is refused.
pub(crate) async fn work(
    keeper: &Arc<Keeper>,
    request: &NodesRequest,
    report: &Reporter,
) -> Result<(), Failure> {
    let not_running = || Refused::NotRunning(keeper.name.clone());
    let living = keeper.living().ok_or_else(not_running)?;
    let record = keeper.record()?.ok_or_else(not_running)?;
    if record.paused {
        return Err(frozen::Refused::Paused(record.name).into());
    }
    let spec = &record.spec;
    match request {
        NodesRequest::Stop { nodes, hard } => {
            known(spec, nodes)?;
            let how = match hard {
                false => Stop::Orderly,
                true => Stop::AtOnce,
            };
            stop(keeper, &living, nodes, how, report).await
        }
        NodesRequest::Start { nodes } => {
            known(spec, nodes)?;
            need_api(&record, nodes)?;
            let was = written(keeper, |record| {
                nodes
                    .iter()
                    .filter(|node| record.stopped.remove(*node))
                    .cloned()
                    .collect()
            });
            let was: Vec<String> = was.await?;
            for node in nodes.iter().filter(|node| !was.contains(node)) {
                let text = format!("{node} was not stopped");
                report(note(node, text));
            }
            up::bring(keeper, spec, report).await?;
            for node in &was {
                report(note(node, format!("{node} is started")));
            }
            Ok(())
        }
        NodesRequest::Reset { nodes } => {
            known(spec, nodes)?;
            keep_control_planes(spec, nodes, "reset")?;
            need_api(&record, &[])?;
            // What is cut off from here on is seen to be unfinished.
            let stopped = written(keeper, |record| {
                record.journal = Journal::Creating;
                record.stopped.retain(|node| !nodes.contains(node));
                record.stopped.clone()
            });
            let plan = replan(keeper, &living, stopped.await?);
            for node in plans(&plan, nodes) {
                let (client, sandbox) = (&living.client, living.sandbox.as_ref());
                execute::reset(client, sandbox, node, report).await?;
            }
            up::bring(keeper, spec, report).await?;
            for node in nodes {
                report(note(node, format!("{node} began anew")));
            }
            Ok(())
        }
        NodesRequest::Remove { nodes } => {
            known(spec, nodes)?;
            keep_control_planes(spec, nodes, "removed")?;
            need_api(&record, &[])?;
            up::bring(keeper, &spec.without_nodes(nodes), report).await
        }
        NodesRequest::Add {
            count,
            driver,
            like,
        } => {
            need_api(&record, &[])?;
            if *count == 0 {
                return Err(Refused::Nothing("no worker more is no change").into());
            }
            let fashion = match (like, driver) {
                (Some(node), _) => Fashion::Like(node),
                (None, Driver::Container) => Fashion::Container,
                (None, Driver::Vm) => Fashion::Vm,
            };
            if let Some(node) = like {
                known(spec, std::slice::from_ref(node))?;
            }
            let more = spec
                .with_workers(*count, &fashion)
                .map_err(Refused::Workers)?;
            up::bring(keeper, &more, report).await
        }
    }
}

async fn stop(
    keeper: &Arc<Keeper>,
    living: &View,
    nodes: &[String],
    how: Stop,
    report: &Reporter,
) -> Result<(), Failure> {
    let (before, stopped) = written(keeper, |record| {
        let before = record.stopped.clone();
        record.stopped.extend(nodes.iter().cloned());
        (before, record.stopped.clone())
    })
    .await?;
    // From here on nobody brings them back.
    let plan = replan(keeper, living, stopped);
    execute::stop(living.sandbox.as_ref(), plans(&plan, nodes), how, report).await?;
    for node in nodes {
        let already = if before.contains(node) {
            " already"
        } else {
            ""
        };
        report(note(node, format!("{node} is stopped{already}")));
    }
    Ok(())
}

/// Nodes that ended by themselves and are not to start again are stopped from now on.
pub(crate) async fn leave(keeper: &Keeper, living: &View, nodes: &[String]) -> Result<(), Failure> {
    let stopped = written(keeper, |record| {
        record.stopped.extend(nodes.iter().cloned());
        record.stopped.clone()
    });
    replan(keeper, living, stopped.await?);
    for node in nodes {
        let text = format!("{node} stays stopped, as its `restart` says");
        keeper.story.tell(What::Changed, About::node(node), text);
    }
    Ok(())
}

/// Changes the record; what came of it.
async fn written<T>(keeper: &Keeper, change: impl FnOnce(&mut Record) -> T) -> Result<T, Failure> {
    let _writing = keeper.writing().await;
    let record = keeper.record()?;
    let mut record = record.ok_or_else(|| Refused::NotRunning(keeper.name.clone()))?;
    let value = change(&mut record);
    record.save(&keeper.paths)?;
    Ok(value)
}

/// The living cluster with these nodes stopped, from now on.
fn replan(keeper: &Keeper, living: &View, stopped: BTreeSet<String>) -> Arc<Plan> {
    let plan = Arc::new(Plan {
        stopped,
        ..Plan::clone(&living.plan)
    });
    keeper.replan(Arc::clone(&plan));
    plan
}

fn plans<'a>(plan: &'a Plan, nodes: &'a [String]) -> impl Iterator<Item = &'a NodePlan> {
    nodes.iter().filter_map(|node| plan.node(node))
}

fn note(node: &str, text: String) -> Progress {
    Progress::Note {
        text,
        node: Some(node.to_owned()),
        component: None,
    }
}

fn known(spec: &ClusterSpec, nodes: &[String]) -> Result<(), Refused> {
    if nodes.is_empty() {
        return Err(Refused::Nothing("no node is named"));
    }
    match nodes.iter().find(|node| spec.node(node).is_none()) {
        None => Ok(()),
        Some(node) => Err(Refused::Unknown {
            cluster: spec.name.clone(),
            node: node.clone(),
            names: spec.nodes.iter().map(|node| node.name.clone()).collect(),
        }),
    }
}

/// The control plane runs, or is among those that are started.
fn need_api(record: &Record, started: &[String]) -> Result<(), Refused> {
    match record.spec.control_plane() {
        Some(node) if record.stopped.contains(&node.name) && !started.contains(&node.name) => {
            Err(Refused::NoApi {
                cluster: record.name.clone(),
                node: node.name.clone(),
            })
        }
        _ => Ok(()),
    }
}

fn keep_control_planes(
    spec: &ClusterSpec,
    nodes: &[String],
    what: &'static str,
) -> Result<(), Refused> {
    let mut named = nodes.iter().filter_map(|node| spec.node(node));
    match named.find(|node| node.role == Role::ControlPlane) {
        None => Ok(()),
        Some(node) => Err(Refused::ControlPlane {
            cluster: spec.name.clone(),
            node: node.name.clone(),
            what,
        }),
    }
}
