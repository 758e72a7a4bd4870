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
use vial_engine::progress::Reporter;
use vial_engine::record::Record;
use vial_sandbox::{AnyMaker, Maker, Sandbox};
use vial_spec::ClusterSpec;

use crate::api::{Event, NodesRequest, StateRequest, ThawRequest, UpRequest};
use crate::events::{About, Book, What};
use crate::lock::try_own;
use crate::operation::{By, Kind, Operation};
use crate::ports::{Held, Ports};
use crate::reach::Reach;
use crate::serve::{Pods, Services};
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
    /// See [`writing`](Self::writing).
    record: tokio::sync::Mutex<()>,
    /// What happened.
    pub(crate) story: Arc<Book>,
    /// Held while a sandbox is made: a `down` must not look for it before it can be found.
    pub(crate) making: Arc<tokio::sync::Mutex<()>>,
    /// Held while container images come to the nodes or go.
    pub(crate) images: tokio::sync::Mutex<()>,
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
    trouble: Option<String>,
}

impl State {
    /// The operation at work.
    fn running(&self) -> Option<Arc<Operation>> {
        self.operation
            .clone()
            .filter(|operation| !operation.is_finished())
    }

    /// Ends the operation at work; `why` is its last event.
    fn cut(&mut self, running: &Operation, why: Event, story: &Book) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Event::Failed { message, .. } = &why {
            story.tell(What::UpFailed, About::cluster(), message);
        }
        running.tell(why);
    }
}

/// Works when the task before has ended: a cut takes effect at its next await, and until then it may still write.
async fn after(before: Option<JoinHandle<()>>, work: impl Future<Output = ()>) {
    if let Some(before) = before {
        // It was cut, or ended long ago.
        let _ = before.await;
    }
    work.await;
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
    pub(crate) ports: Arc<Ports>,
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
    let lock = paths.lock_file(name);
    let Some(owner) = try_own(&paths, name).map_err(at("lock", lock.clone()))? else {
        return Ok(Outcome::Busy);
    };
    let run_dir = paths.run_dir(name);
    paths
        .make_run_dir(name)
        .map_err(at("make", run_dir.clone()))?;
    let socket = paths.keeper_socket(name);
    owner
        .sign(&socket)
        .map_err(|error| at("sign", lock)(error.source))?;
    let _ = fs::remove_file(&socket);
    let story = Arc::new(Book::open(&paths.cluster_dir(name)));
    let keeper = Arc::new(Keeper {
        paths,
        story,
        name: name.to_owned(),
        maker: Box::new(AnyMaker),
        state: Mutex::default(),
        record: tokio::sync::Mutex::default(),
        making: Arc::default(),
        images: tokio::sync::Mutex::default(),
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
    // A sandbox that could not be served may live all the same, and is found by what lies there.
    if keeper.sandbox_pid().await.is_none() {
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
            ports: living.services.ports(),
        })
    }

    /// What is needed to reach into the living sandbox, and when to let go of it.
    pub(crate) fn reach(&self) -> Option<(Reach, CancellationToken)> {
        let state = self.state();
        let living = state.living.as_ref()?;
        Some((living.services.reach(), living.services.closing()))
    }

    /// The first process of the cluster's sandbox, served or not.
    pub(crate) async fn sandbox_pid(&self) -> Option<u32> {
        if let Some(living) = self.living() {
            return Some(living.sandbox.pid());
        }
        let spec = vial_engine::execute::sandbox_spec(&self.paths, &self.name);
        let found = self.maker.find(&spec).await.ok().flatten();
        found.map(|sandbox| sandbox.pid())
    }

    /// Writes down what happened to the cluster as a whole.
    pub(crate) fn tell(&self, what: What, message: impl Into<String>) {
        self.story.tell(what, About::cluster(), message);
    }

    /// Why things are not as they should be, in the words of what failed last; `None` takes it back.
    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.state().trouble = trouble;
    }

    /// What [`set_trouble`](Self::set_trouble) said last.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// The running or last operation.
    pub(crate) fn last(&self) -> Option<Arc<Operation>> {
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
            living.services.follow(&plan);
            living.plan = plan;
        }
    }

    /// Serves a cluster as it is wanted and recorded now: its nodes, and its forwarded ports, some of which are held
    /// already.
    pub(crate) async fn change(&self, spec: &ClusterSpec, held: Vec<Held>) {
        let _writing = self.writing().await;
        let ports = self.state().living.as_ref().map(|living| {
            living.services.change(spec);
            living.services.ports()
        });
        if let (Some(ports), Ok(Some(record))) = (ports, self.record()) {
            let wanted = Held::take_some(record.ports, held, &ports);
            ports.serve(wanted).await;
        }
    }

    /// The forwarded ports of the living sandbox.
    pub(crate) fn ports(&self) -> Option<Arc<Ports>> {
        let state = self.state();
        state.living.as_ref().map(|living| living.services.ports())
    }

    /// The names of the living sandbox's pods.
    pub(crate) fn pods(&self) -> Option<Pods> {
        let state = self.state();
        state.living.as_ref().map(|living| living.services.pods())
    }

    /// Whoever reads the record to write it again holds this meanwhile, and until ports are served as it says.
    pub(crate) async fn writing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.record.lock().await
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

    /// Starts an `up`, or joins the one that is at work with the same specification. While a person's `up` to something
    /// else or a `down` is at work it is refused.
    pub(crate) fn up(self: &Arc<Self>, request: UpRequest, by: By) -> Arc<Operation> {
        self.begin(Kind::Up(Box::new(request)), by)
    }

    fn begin(self: &Arc<Self>, kind: Kind, by: By) -> Arc<Operation> {
        let refused = |kind, why| Operation::refused(kind, by, why);
        let mut state = self.state();
        match state.running() {
            Some(running) if running.kind == kind => return running,
            Some(running) if running.kind == Kind::Down => {
                return refused(kind, failure::being_removed(&self.name));
            }
            Some(running) if running.by == By::Person || by == By::Keeper => {
                return refused(kind, failure::busy(&self.name));
            }
            Some(repair) => state.cut(&repair, failure::gave_way(&self.name), &self.story),
            None => {}
        }
        let operation = Operation::new(kind, by);
        match (&operation.kind, by) {
            (Kind::Up(_), By::Person) => self.tell(What::UpStarted, "up, by command"),
            (Kind::Up(_), By::Keeper) => {
                self.tell(What::UpStarted, "up, to bring back what ended by itself");
            }
            // Told where it is done, of each node.
            _ => {}
        }
        let before = state.task.take();
        let work = up::up(Arc::clone(self), Arc::clone(&operation));
        state.task = Some(tokio::spawn(after(before, work)));
        state.operation = Some(Arc::clone(&operation));
        operation
    }

    /// Starts what is to become of nodes, or joins the same. While anything else of a person is at work it is refused.
    pub(crate) fn nodes(self: &Arc<Self>, request: NodesRequest) -> Arc<Operation> {
        self.begin(Kind::Nodes(request), By::Person)
    }

    /// Starts what is to become of all that runs, or joins the same. While anything else of a person is at work it is refused.
    pub(crate) fn state_of_all(self: &Arc<Self>, request: StateRequest) -> Arc<Operation> {
        self.begin(Kind::State(request), By::Person)
    }

    /// Starts to make the cluster of a template, or joins the same.
    pub(crate) fn thaw(self: &Arc<Self>, request: ThawRequest) -> Arc<Operation> {
        self.begin(Kind::Thaw(request), By::Person)
    }

    /// Starts a `down`, or joins the one that is at work; an `up` that is at work ends.
    pub(crate) fn down(self: &Arc<Self>) -> Arc<Operation> {
        let mut state = self.state();
        if let Some(running) = state.running() {
            if running.kind == Kind::Down {
                return running;
            }
            state.cut(&running, failure::cancelled(&self.name), &self.story);
        }
        let operation = Operation::new(Kind::Down, By::Person);
        self.tell(What::DownStarted, "the cluster is removed");
        let before = state.task.take();
        let work = Arc::clone(self).run_down(Arc::clone(&operation));
        state.task = Some(tokio::spawn(after(before, work)));
        state.operation = Some(Arc::clone(&operation));
        operation
    }

    /// Ends and removes all of the cluster. Its story waits meanwhile.
    pub(crate) async fn remove(&self, report: &Reporter) -> vial_engine::Result<()> {
        let _made = self.making.lock().await;
        self.forget();
        self.story.close();
        let removed =
            vial_engine::execute::down(self.maker.as_ref(), &self.paths, &self.name, report).await;
        self.story.open_again();
        removed
    }

    async fn run_down(self: Arc<Self>, operation: Arc<Operation>) {
        let ended = self.remove(&operation.reporter()).await;
        if let Err(error) = &ended {
            self.tell(What::DownFailed, failure::chain(error));
        }
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
            // Removed, or never made: an `up` that was refused before it wrote anything.
            let finished = self.last().is_some_and(|last| last.is_finished());
            if finished && self.living().is_none() && matches!(self.record(), Ok(None)) {
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
