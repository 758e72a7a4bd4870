//! The one owner of a cluster's state while it runs; requests come from [`crate::server`].

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vial_engine::paths::Paths;
use vial_engine::plan::Plan;
use vial_engine::record::Record;
use vial_sandbox::{Maker, NamespaceMaker, Sandbox};

use crate::api::{Event, UpRequest};
use crate::lock::{Owner, private_dir};
use crate::operation::{Kind, Operation};
use crate::reach::Reach;
use crate::serve::Services;
use crate::{failure, server, up, watch};

/// How long a keeper without a sandbox stays for a request to come.
const IDLE: Duration = Duration::from_secs(10);

/// How long a client may take to read the last events of an operation before the keeper goes without it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a keeper ended.
pub(crate) enum Outcome {
    /// Its work is done.
    Finished,
    /// The cluster has a keeper already.
    Busy,
}

/// Why a keeper could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub(crate) struct StartError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Everything a keeper knows.
pub(crate) struct Keeper {
    pub(crate) paths: Paths,
    pub(crate) name: String,
    pub(crate) maker: Box<dyn Maker>,
    state: Mutex<State>,
    /// Held while a sandbox is made: a `down` must not look for it before it can be found.
    pub(crate) making: Arc<tokio::sync::Mutex<()>>,
    /// Something ended: the sandbox, or an operation.
    pub(crate) changed: Notify,
    /// The sandbox ended by itself.
    ended: AtomicBool,
}

#[derive(Default)]
struct State {
    living: Option<Living>,
    operation: Option<Arc<Operation>>,
    task: Option<JoinHandle<()>>,
}

impl State {
    /// The operation at work.
    fn running(&self) -> Option<Arc<Operation>> {
        self.operation
            .clone()
            .filter(|operation| !operation.is_finished())
    }
}

/// A sandbox and what is served for it.
pub(crate) struct Living {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) client: kube::Client,
    pub(crate) services: Services,
}

/// A view of [`Living`] that outlives a lock.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) client: kube::Client,
}

/// Runs a keeper until there is nothing to keep.
pub(crate) async fn run(paths: Paths, name: &str) -> Result<Outcome, StartError> {
    let at = |operation, path: PathBuf| {
        move |source| StartError {
            operation,
            path,
            source,
        }
    };
    let Some(owner) = Owner::try_take(&paths, name).map_err(at("lock", paths.lock_file(name)))?
    else {
        return Ok(Outcome::Busy);
    };
    let run_dir = paths.run_dir(name);
    private_dir(&run_dir).map_err(at("make", run_dir.clone()))?;
    let socket = paths.keeper_socket(name);
    let _ = fs::remove_file(&socket);
    let keeper = Arc::new(Keeper {
        paths,
        name: name.to_owned(),
        maker: Box::new(NamespaceMaker),
        state: Mutex::default(),
        making: Arc::default(),
        changed: Notify::new(),
        ended: AtomicBool::new(false),
    });
    up::resume(&keeper).await;
    let listener = server::bind(&socket).map_err(at("listen on", socket))?;
    crate::say("ready");
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let until_ended = async {
        // A dropped sender means the same.
        let _ = ended.await;
    };
    tokio::select! {
        () = server::serve(listener, Arc::clone(&keeper), until_ended) => {}
        () = async {
            keeper.until_needless().await;
            let _ = end.send(());
            tokio::time::sleep(LAST_WORDS).await;
        } => {}
    }
    // The next keeper may come as soon as the lock is gone, so everything else goes first.
    if keeper.living().is_none() {
        let _ = fs::remove_dir_all(&run_dir);
        let _ = fs::remove_dir(&keeper.paths.run);
    }
    drop(owner);
    Ok(Outcome::Finished)
}

impl Keeper {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The living sandbox, when there is one.
    pub(crate) fn living(&self) -> Option<View> {
        self.state().living.as_ref().map(|living| View {
            sandbox: Arc::clone(&living.sandbox),
            plan: Arc::clone(&living.plan),
            client: living.client.clone(),
        })
    }

    /// What is needed to reach into the living sandbox, and when to let go of it.
    pub(crate) fn reach(&self) -> Option<(Reach, CancellationToken)> {
        let state = self.state();
        let living = state.living.as_ref()?;
        let reach = Reach {
            sandbox: Arc::clone(&living.sandbox),
            client: living.client.clone(),
            spec: Arc::new(living.plan.spec.clone()),
        };
        Some((reach, living.services.closing()))
    }

    /// The running or last operation.
    pub(crate) fn operation(&self) -> Option<Arc<Operation>> {
        self.state().operation.clone()
    }

    /// Is an operation at work?
    pub(crate) fn busy(&self) -> Option<Kind> {
        self.state()
            .running()
            .map(|operation| operation.kind.clone())
    }

    /// From now on this sandbox is served.
    pub(crate) fn serve(&self, living: Living) {
        self.state().living = Some(living);
    }

    /// Remembers the plan of a finished `up`.
    pub(crate) fn replan(&self, plan: Arc<Plan>) {
        if let Some(living) = self.state().living.as_mut() {
            living.plan = plan;
        }
    }

    /// The sandbox is gone: everything that pointed into it is dropped.
    pub(crate) fn forget(&self) {
        drop(self.state().living.take());
    }

    /// The sandbox ended by itself and is swept: unless somebody wants it back, there is nothing to stay for.
    pub(crate) fn swept(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// What the disk says of the cluster.
    pub(crate) fn record(&self) -> vial_engine::Result<Option<Record>> {
        Record::load(&self.paths, &self.name)
    }

    /// Starts an `up`, or joins the one that is at work with the same specification. One with another specification
    /// waits for its turn; during a `down` it is refused.
    pub(crate) async fn up(self: &Arc<Self>, request: UpRequest) -> Arc<Operation> {
        let kind = Kind::Up(Box::new(request.spec));
        loop {
            let running = {
                let mut state = self.state();
                match state.running() {
                    Some(running) if running.kind == kind => return running,
                    Some(running) => running,
                    None => {
                        let operation = Operation::new(kind);
                        let work = up::up(Arc::clone(self), Arc::clone(&operation));
                        state.task = Some(tokio::spawn(work));
                        state.operation = Some(Arc::clone(&operation));
                        return operation;
                    }
                }
            };
            if running.kind == Kind::Down {
                let refused = Operation::new(kind);
                refused.tell(failure::cancelled(&self.name));
                return refused;
            }
            running.finished().await;
        }
    }

    /// Starts a `down`, or joins the one that is at work; an `up` that is at work ends.
    pub(crate) fn down(self: &Arc<Self>) -> Arc<Operation> {
        let mut state = self.state();
        if let Some(running) = state.running() {
            if running.kind == Kind::Down {
                return running;
            }
            if let Some(task) = &state.task {
                task.abort();
            }
            running.tell(failure::cancelled(&self.name));
        }
        let cut = state.task.take();
        let operation = Operation::new(Kind::Down);
        state.operation = Some(Arc::clone(&operation));
        tokio::spawn(Arc::clone(self).run_down(Arc::clone(&operation), cut));
        operation
    }

    /// `cut` is the `up` that was at work, or the last one.
    async fn run_down(self: Arc<Self>, operation: Arc<Operation>, cut: Option<JoinHandle<()>>) {
        // A cut takes effect at the next await: until then the `up` may still write.
        if let Some(cut) = cut {
            let _ = cut.await;
        }
        let _made = self.making.lock().await;
        self.forget();
        let report = operation.reporter();
        let ended =
            vial_engine::execute::down(self.maker.as_ref(), &self.paths, &self.name, &report).await;
        // The run directory and the lock go with the process, which a client waits for (`Client::gone`).
        operation.tell(match ended {
            Ok(()) => Event::Done { status: None },
            Err(error) => failure::event(&self.name, &error),
        });
        self.changed.notify_waiters();
    }

    /// Resolves when there is nothing to keep and nobody asks.
    async fn until_needless(self: &Arc<Self>) {
        loop {
            let changed = self.changed.notified();
            let removed = self
                .operation()
                .is_some_and(|last| last.kind == Kind::Down && last.is_finished());
            if removed && matches!(self.record(), Ok(None)) {
                return;
            }
            let needed = self.living().is_some() || self.busy().is_some();
            if !needed && self.ended.load(Ordering::Relaxed) {
                return;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(IDLE), if !needed => {
                    if self.living().is_none() && self.busy().is_none() {
                        return;
                    }
                }
                () = watch::until_operation_ends(self), if needed && self.living().is_none() => {}
            }
        }
    }
}
