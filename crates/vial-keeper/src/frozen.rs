//! All that runs in a cluster: frozen, stopped, paused, resumed, thawed.
//!
//! ```text
//!              pause (record: paused)
//!   running ◄─────────────────────────► paused
//!      │ ▲     resume, up
//!      │ └──── start, up ──────────────┐
//!      ├── stop ─► frozen in its place ┘
//!      └── freeze ─► a template ── thaw, of another cluster's keeper ─► running
//! ```
//! The sandbox of a cluster that is stopped ends only when its state is whole on disk. A pause is recorded before it
//! begins, and a resume after it ended: a cut leaves a cluster that says it is paused, and can be resumed.

use std::sync::Arc;

use vial_engine::freeze::{self, Cluster, Halted, Newborn, Wanted};
use vial_engine::progress::{Progress, Reporter, step};
use vial_engine::record::Record;
use vial_engine::template::{Made, Template, Templates, pristine};
use vial_sandbox::After;
use vial_spec::ClusterSpec;
use vial_spec::port::PortForward;

use crate::api::{StateRequest, ThawRequest};
use crate::events::What;
use crate::keeper::{Keeper, View};
use crate::serve::OwnPorts;
use crate::up::{self, Failure};

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Nothing of the cluster runs.
    #[error("cluster {0} does not run")]
    NotRunning(String),
    /// Nothing in it answers.
    #[error("cluster {0} is paused")]
    Paused(String),
    /// There is a cluster of that name.
    #[error("there is a cluster {0} already")]
    Exists(String),
    /// A half-made cluster is no template.
    #[error("cluster {0} is not up: its last up did not end well")]
    Unfinished(String),
}

impl Refused {
    /// The next step.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NotRunning(cluster) => format!("`vial up {cluster}` starts it"),
            Self::Paused(cluster) => format!("`vial resume {cluster}` has it go on"),
            Self::Exists(cluster) => {
                format!("choose another name, or remove it with `vial down {cluster}`")
            }
            Self::Unfinished(cluster) => format!("`vial up {cluster}` completes it"),
        }
    }
}

/// Does what was asked for.
pub(crate) async fn work(
    keeper: &Arc<Keeper>,
    request: &StateRequest,
    report: &Reporter,
) -> Result<(), Failure> {
    let not_running = || Refused::NotRunning(keeper.name.clone());
    let living = keeper.living().ok_or_else(not_running)?;
    let record = keeper.record()?.ok_or_else(not_running)?;
    match request {
        StateRequest::Freeze {
            template,
            replace,
            stop,
        } => {
            whole(&record)?;
            if record.paused {
                return Err(Refused::Paused(record.name).into());
            }
            let wanted = Wanted {
                name: template.clone(),
                made: Made::Person,
                replace: *replace,
                now: jiff::Timestamp::now().to_string(),
            };
            let after = if *stop { After::Stay } else { After::GoOn };
            let cluster = cluster(keeper, &record, &living);
            let halted = freeze::freeze(cluster, wanted, after, report).await;
            let halted = or_go_on(&living, halted).await?;
            let text = format!("frozen to template {template}");
            keeper.tell(What::Frozen, &text);
            report(Progress::note(text));
            match after {
                After::GoOn => Ok(()),
                After::Stay => end(keeper, living, halted, report).await,
            }
        }
        StateRequest::Stop => {
            whole(&record)?;
            if record.paused {
                // Who stands still cannot be asked to write itself down.
                resume(keeper).await?;
            }
            let halted = freeze::stop(cluster(keeper, &record, &living), report).await;
            let halted = or_go_on(&living, halted).await?;
            end(keeper, living, halted, report).await
        }
        StateRequest::Pause => {
            set_paused(keeper, true).await?;
            let halted = living.sandbox.pause();
            step(report, None, "pause", "halt all that runs", halted).await?;
            keeper.tell(
                What::Paused,
                "paused: it keeps its memory and takes no processor time",
            );
            Ok(())
        }
        StateRequest::Resume => step(report, None, "resume", "let all go on", resume(keeper)).await,
    }
}

/// Lets a cluster go on that could not be frozen: it may have been halted already.
async fn or_go_on<T>(living: &View, frozen: vial_engine::Result<T>) -> vial_engine::Result<T> {
    if frozen.is_err() {
        // The first error is the one to tell.
        let _ = living.sandbox.resume().await;
    }
    frozen
}

/// What never came up as a whole is not to be had again and again.
fn whole(record: &Record) -> Result<(), Refused> {
    match record.journal {
        vial_engine::record::Journal::Up => Ok(()),
        _ => Err(Refused::Unfinished(record.name.clone())),
    }
}

fn cluster<'a>(keeper: &'a Keeper, record: &'a Record, living: &'a View) -> Cluster<'a> {
    Cluster {
        paths: &keeper.paths,
        record,
        plan: &living.plan,
        sandbox: living.sandbox.as_ref(),
    }
}

/// Lets a paused cluster go on.
pub(crate) async fn resume(keeper: &Arc<Keeper>) -> Result<(), Failure> {
    if let Some(living) = keeper.living() {
        living.sandbox.resume().await?;
    }
    set_paused(keeper, false).await?;
    keeper.tell(What::Resumed, "it goes on");
    Ok(())
}

async fn set_paused(keeper: &Keeper, paused: bool) -> Result<(), Failure> {
    let _writing = keeper.writing().await;
    if let Some(record) = keeper.record()? {
        Record { paused, ..record }.save(&keeper.paths)?;
    }
    Ok(())
}

/// Ends the sandbox of a cluster whose state is on disk; nothing of it runs meanwhile.
async fn end(
    keeper: &Arc<Keeper>,
    living: View,
    halted: Halted,
    report: &Reporter,
) -> Result<(), Failure> {
    let _made = keeper.making.lock().await;
    keeper.forget();
    let ended = living.sandbox.end();
    step(report, None, "end", "end the sandbox", ended).await?;
    drop(halted);
    set_paused(keeper, false).await?;
    keeper.tell(
        What::Stopped,
        "stopped, with all that ran in it kept on disk",
    );
    keeper.swept();
    Ok(())
}

/// Makes the cluster of a template.
pub(crate) async fn thaw(
    keeper: &Arc<Keeper>,
    request: &ThawRequest,
    report: &Reporter,
) -> Result<(), Failure> {
    let exists = keeper.record()?.is_some();
    if exists || keeper.living().is_some() {
        return Err(Refused::Exists(keeper.name.clone()).into());
    }
    if keeper.paths.cluster_dir(&keeper.name).is_dir() {
        // A removal was cut.
        keeper.remove(report).await?;
    }
    let template = Templates::of(&keeper.paths).find(&request.template)?;
    let record = lay(keeper, &template, None, request.cold).await?;
    // The same forwards, at ports that are free: those of the frozen cluster are its own.
    let ports = template.spec.ports.iter().cloned();
    let anew = |port| PortForward { port: 0, ..port };
    let spec = ClusterSpec {
        ports: ports.map(anew).collect(),
        ..record.spec
    };
    Box::pin(up::bring(keeper, &spec, report)).await
}

/// Makes a new cluster that goes on from a pristine template of its shape.
pub(crate) async fn go_on_from(
    keeper: &Arc<Keeper>,
    template: &Template,
    spec: &ClusterSpec,
    report: &Reporter,
) -> Result<(), Failure> {
    pristine::touch(&keeper.paths, template);
    report(Progress::note(format!(
        "it goes on from template {}; --cold starts it",
        template.name
    )));
    lay(keeper, template, Some(spec), false).await?;
    Box::pin(up::bring(keeper, spec, report)).await?;
    // Of a person's own objects the template has none.
    match spec.manifests.is_empty() {
        true => Ok(()),
        false => Box::pin(up::bring(keeper, spec, report)).await,
    }
}

/// Lays the directory of this new cluster; nothing is left of it where that fails.
async fn lay(
    keeper: &Keeper,
    template: &Template,
    spec: Option<&ClusterSpec>,
    cold: bool,
) -> Result<Record, Failure> {
    let free = OwnPorts::free()?;
    let newborn = Newborn {
        name: keeper.name.clone(),
        uid: up::uid()?,
        created: jiff::Timestamp::now().to_string(),
        api_port: free.api.local_addr()?.port(),
        registry_port: free.registry.local_addr()?.port(),
        spec: spec.cloned(),
    };
    let laid = freeze::lay(&keeper.paths, template, newborn, cold);
    drop(free);
    if laid.is_err() {
        let quietly: Reporter = Arc::new(|_| {});
        // The first error is the one to tell.
        let _ = keeper.remove(&quietly).await;
    }
    Ok(laid?)
}

/// Keeps a cluster that has just come up as a template of its shape. One that cannot be kept is up all the same.
pub(crate) async fn keep_pristine(keeper: &Arc<Keeper>, shape: String, report: &Reporter) {
    let kept = async {
        let Some(living) = keeper.living() else {
            return Ok(());
        };
        let Some(record) = keeper.record()? else {
            return Ok(());
        };
        // A machine that was frozen before does not go on from its second freeze yet: the first one is its person's.
        let is_machine = record.spec.sandbox.machine().is_some();
        if is_machine
            || !pristine::can_be_made(&record.spec)
            || !freeze::can_be_frozen(&record.spec)
        {
            return Ok(());
        }
        pristine::prune(&keeper.paths, std::time::SystemTime::now())?;
        let wanted = Wanted {
            name: pristine::name(&shape),
            made: Made::Pristine { shape },
            replace: true,
            now: jiff::Timestamp::now().to_string(),
        };
        let cluster = cluster(keeper, &record, &living);
        freeze::freeze(cluster, wanted, After::GoOn, report).await?;
        Ok::<_, vial_engine::Error>(())
    };
    if let Err(error) = kept.await {
        let why = error.line();
        tracing::warn!(why, "no pristine template");
        report(Progress::note(format!(
            "the next cluster of this shape starts as this one did: {why}"
        )));
    }
}
