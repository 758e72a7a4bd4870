//! An `up` from beginning to end, and what a new keeper takes up from a former one.

use std::sync::Arc;

use vial_engine::execute::{self, Birth, Objects, Otherwise, Prepared};
use vial_engine::freeze;
use vial_engine::kube_api;
use vial_engine::progress::{Progress, Reporter, step};
use vial_engine::record::{Journal, Record};
use vial_engine::template::pristine;
use vial_image::{NodeImage, Store};
use vial_sandbox::Sandbox;
use vial_spec::{ClusterSpec, SandboxConfig};

use crate::api::{Event, Start, UpRequest};
use crate::events::{About, What};
use crate::failure::{self, chain};
use crate::frozen;
use crate::keeper::{Keeper, Living};
use crate::nodes::{self, Refused};
use crate::operation::{Kind, Operation};
use crate::ports::{self, Held};
use crate::serve::{self, OwnPorts, Services};
use crate::{means, status, watch};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves a sandbox that outlived its keeper.
pub(crate) async fn resume(keeper: &Arc<Keeper>) {
    let resumed = async {
        let Some(record) = keeper.record()? else {
            return Ok::<_, Failure>(());
        };
        let spec = execute::sandbox_spec(&keeper.paths, &keeper.name);
        let Some(sandbox) = keeper.maker.find(&spec).await? else {
            if keeper.story.sandbox_lives() {
                let text = "the sandbox ended while there was no keeper";
                keeper.tell(What::SandboxEnded, text);
            }
            return Ok(keeper.maker.sweep(&spec).await?);
        };
        // A freeze may have been cut, and have left it halted.
        if !record.paused {
            sandbox.resume().await?;
        }
        let image = image(keeper, &record.spec.node_image, Some(&record.image_digest))?;
        let journal = record.journal;
        let mut prepared =
            execute::prepare(&keeper.paths, &record.spec, record.ports, &image, || {
                Err(std::io::ErrorKind::NotFound.into())
            })?;
        prepared.record.journal = journal;
        prepared.record.save(&keeper.paths)?;
        let own = OwnPorts::of(&prepared.record)?;
        open(keeper, &prepared, &image, sandbox.into(), own).await?;
        // A port that somebody took meanwhile is shown as taken; the cluster lives on without it.
        keeper.change(&prepared.plan.spec, Vec::new()).await;
        keeper.tell(What::KeeperStarted, "another keeper serves the cluster");
        if journal == Journal::Up {
            means::begin(keeper);
        }
        Ok(())
    };
    if let Err(error) = resumed.await {
        let error = chain(error.as_ref());
        tracing::error!(error, "cannot serve the cluster");
        keeper.tell(
            What::KeeperFailed,
            format!("the keeper cannot serve the cluster: {error}"),
        );
        keeper.set_trouble(Some(format!("its keeper cannot serve it: {error}")));
    }
}

/// Works on an `up`, or a change of nodes, until its last event is told.
pub(crate) async fn up(keeper: Arc<Keeper>, operation: Arc<Operation>) {
    let report = told(&keeper, operation.reporter());
    let done = match &operation.kind {
        Kind::Up(request) => Box::pin(start(&keeper, request, &report)).await,
        Kind::Nodes(request) => Box::pin(nodes::work(&keeper, request, &report)).await,
        Kind::State(request) => Box::pin(frozen::work(&keeper, request, &report)).await,
        Kind::Thaw(request) => Box::pin(frozen::thaw(&keeper, request, &report)).await,
        Kind::Down | Kind::Images => Ok(()),
    };
    let refused =
        matches!(&done, Err(error) if error.is::<Refused>() || error.is::<frozen::Refused>());
    let last = match done {
        Ok(()) => Event::Done {
            status: status::of(&keeper).await.map(Box::new),
        },
        Err(error) => match error.downcast_ref::<vial_image::Error>() {
            Some(error) => failure::no_image(
                chain(error),
                "vial node-image build makes it; vial node-image ls shows what is there".into(),
            ),
            None => failure::event(&keeper.name, error.as_ref()),
        },
    };
    match &last {
        // Nothing was begun.
        Event::Failed { .. } if refused => {}
        // It goes on as before.
        Event::Failed { message, .. } if matches!(operation.kind, Kind::State(_)) => {
            keeper.tell(What::FreezeFailed, message);
        }
        Event::Failed { message, .. } => {
            keeper.set_trouble(Some(format!("the last up failed: {message}")));
            keeper.tell(What::UpFailed, message);
        }
        _ => {
            keeper.set_trouble(None);
            if matches!(operation.kind, Kind::Up(_) | Kind::Thaw(_)) {
                keeper.tell(What::UpFinished, "the cluster is up");
            }
        }
    }
    let is_up = matches!(last, Event::Done { .. });
    operation.tell(last);
    keeper.changed.notify_waiters();
    if is_up && keeper.living().is_some() {
        means::begin(&keeper);
    }
}

/// Brings the cluster to this state, from where it is wanted to start.
async fn start(
    keeper: &Arc<Keeper>,
    request: &UpRequest,
    report: &Reporter,
) -> Result<(), Failure> {
    if request.start == Start::Cold && keeper.living().is_none() {
        freeze::forget(&keeper.paths, &keeper.name)?;
    }
    let quickest = request.start == Start::Quickest;
    let is_new = keeper.record()?.is_none() && !keeper.paths.cluster_dir(&keeper.name).is_dir();
    if !(quickest && is_new) {
        return Box::pin(bring(keeper, &request.spec, report)).await;
    }
    let spec = &request.spec;
    let image = image(keeper, &spec.node_image, None)?;
    execute::find_out_accelerator(&keeper.paths, spec, &image, report).await;
    let shape = pristine::shape(spec, &image.digest.to_string());
    match pristine::find(&keeper.paths, spec, &shape) {
        Some(template) => {
            execute::check(spec, None)?;
            Box::pin(frozen::go_on_from(keeper, &template, spec, report)).await
        }
        None => {
            Box::pin(bring(keeper, spec, report)).await?;
            Box::pin(frozen::keep_pristine(keeper, shape, report)).await;
            Ok(())
        }
    }
}

/// Brings the cluster to this state.
pub(crate) async fn bring(
    keeper: &Arc<Keeper>,
    spec: &ClusterSpec,
    report: &Reporter,
) -> Result<(), Failure> {
    let record = finish_removal(keeper, report).await?;
    let image = image(
        keeper,
        &spec.node_image,
        record.as_ref().map(|record| record.image_digest.as_str()),
    )?;
    if record.is_some_and(|record| record.paused) {
        frozen::resume(keeper).await?;
    }
    let before = keeper.living().map(|living| Arc::clone(&living.plan));
    execute::check(spec, before.as_ref().map(|plan| &plan.spec))?;
    execute::find_out_accelerator(&keeper.paths, spec, &image, report).await;
    let mut own = None;
    let birth = || {
        let free = OwnPorts::free()?;
        let api_port = free.api.local_addr()?.port();
        let registry_port = free.registry.local_addr()?.port();
        own = Some(free);
        Ok(Birth {
            uid: uid()?,
            created: jiff::Timestamp::now().to_string(),
            api_port,
            registry_port,
        })
    };
    let (prepared, held) = prepare(keeper, spec, &image, birth).await?;
    execute::raise_limits(&keeper.paths, report)?;
    let frozen = freeze::is_frozen(&keeper.paths, &keeper.name);
    let (sandbox, prepared) = make(keeper, prepared, report).await?;
    if keeper.living().is_none() {
        let own = match own {
            Some(own) => own,
            None => OwnPorts::of(&prepared.record)?,
        };
        open(keeper, &prepared, &image, sandbox, own).await?;
    }
    keeper.change(spec, held).await;
    let living = keeper.living().ok_or("the sandbox ended")?;
    let _images = keeper.images.lock().await;
    // Each is large; together they would not fit a thread's stack.
    let bringing = Box::pin(async {
        let (paths, sandbox) = (&keeper.paths, living.sandbox.as_ref());
        match prepared.plan.spec.sandbox {
            _ if !frozen => {}
            SandboxConfig::Vm(_) => {
                Box::pin(execute::go_on(&prepared, sandbox, &living.client, report)).await?;
            }
            SandboxConfig::Namespace => {
                let (objects, otherwise) = (Objects::AsFrozen, Otherwise::StartFromDisks);
                let thawing = execute::thaw(paths, &prepared, sandbox, objects, otherwise, report);
                Box::pin(thawing).await?;
            }
        }
        match frozen && prepared.changes.is_empty() {
            true => Ok(()),
            false => Box::pin(execute::bring_up(paths, &prepared, sandbox, report)).await,
        }
    });
    tokio::select! {
        done = bringing => done?,
        () = living.sandbox.ended() => return Err("the sandbox ended".into()),
    }
    finish(keeper, prepared.record).await?;
    keeper.replan(Arc::new(prepared.plan));
    Ok(())
}

/// Also writes down what changes.
fn told(keeper: &Arc<Keeper>, report: Reporter) -> Reporter {
    let keeper = Arc::clone(keeper);
    Arc::new(move |progress| {
        if let Progress::Note {
            text,
            node,
            component,
        } = &progress
        {
            let about = About {
                node: node.clone(),
                component: component.clone(),
            };
            keeper.story.tell(What::Changed, about, text);
        }
        report(progress);
    })
}

/// The record of the cluster as it is to be gone on with: where a removal was cut off, it is completed first, so that
/// nothing of an old cluster gets into a new one.
async fn finish_removal(
    keeper: &Arc<Keeper>,
    report: &Reporter,
) -> Result<Option<Record>, Failure> {
    let record = keeper.record()?;
    let cut = match &record {
        Some(record) => record.journal == Journal::Deleting,
        // The record goes last.
        None => keeper.paths.cluster_dir(&keeper.name).is_dir(),
    };
    if !cut {
        return Ok(record);
    }
    if record.is_none() && keeper.sandbox_pid().await.is_some() {
        return Err("the cluster runs and its record is missing".into());
    }
    keeper.remove(report).await?;
    Ok(None)
}

/// Takes the ports of the host, then plans and announces: a port that is taken changes nothing.
async fn prepare(
    keeper: &Keeper,
    spec: &ClusterSpec,
    image: &NodeImage,
    birth: impl FnOnce() -> std::io::Result<Birth>,
) -> Result<(Prepared, Vec<Held>), Failure> {
    let _writing = keeper.writing().await;
    let record = keeper.record()?;
    let (before, open) = match &record {
        Some(record) => (record.spec.ports.as_slice(), record.ports.as_slice()),
        None => Default::default(),
    };
    let wanted = ports::merge(before, open, &spec.ports)?;
    let held = Held::take_all(wanted, open, keeper.ports().as_deref())?;
    let taken = held.iter().map(|held| held.port.clone()).collect();
    let prepared = execute::prepare(&keeper.paths, spec, taken, image, birth)?;
    Ok((prepared, held))
}

/// Announces the end of an `up`. Ports may have come and gone meanwhile.
async fn finish(keeper: &Keeper, planned: Record) -> Result<(), Failure> {
    let _writing = keeper.writing().await;
    let mut record = keeper.record()?.unwrap_or(planned);
    record.journal = Journal::Up;
    Ok(record.save(&keeper.paths)?)
}

/// Makes (or finds) sandbox, network and disks in a task of its own, which a cancelled `up` does not cut: whoever removes them
/// must find all of them, and nobody may still be at work on them.
async fn make(
    keeper: &Arc<Keeper>,
    prepared: Prepared,
    report: &Reporter,
) -> Result<(Arc<dyn Sandbox>, Prepared), Failure> {
    let guard = Arc::clone(&keeper.making).lock_owned().await;
    let (keeper, report) = (Arc::clone(keeper), Arc::clone(report));
    let task = tokio::spawn(async move {
        let _guard = guard;
        let living = keeper.living().map(|living| living.sandbox);
        let (maker, paths) = (keeper.maker.as_ref(), &keeper.paths);
        let sandbox = async {
            let sandbox = match living {
                Some(sandbox) => sandbox,
                None => {
                    let made = step(
                        &report,
                        None,
                        "sandbox",
                        "make the sandbox",
                        execute::sandbox(maker, paths, &prepared),
                    );
                    made.await.inspect(|_| {
                        keeper.tell(What::SandboxStarted, "the sandbox was made");
                    })?
                }
            };
            execute::connect(&prepared, sandbox.as_ref(), &report).await?;
            Ok(sandbox)
        };
        let disks = step(
            &report,
            None,
            "disks",
            "make the nodes' disks",
            execute::disks(paths, &prepared),
        );
        let machines = execute::machines(paths, &prepared, &report);
        let (sandbox, (), ()) = tokio::try_join!(sandbox, disks, machines)?;
        Ok::<_, vial_engine::Error>((sandbox, prepared))
    });
    Ok(task.await??)
}

/// Serves a sandbox: ports, DNS, and an eye on its end.
async fn open(
    keeper: &Arc<Keeper>,
    prepared: &Prepared,
    image: &NodeImage,
    sandbox: Arc<dyn Sandbox>,
    own: OwnPorts,
) -> Result<(), Failure> {
    let client = kube_api::client(&prepared.admin_kubeconfig()?).await?;
    let living = Living {
        services: Services::start(
            &sandbox,
            &prepared.plan,
            own,
            &client,
            &keeper.paths,
            serve::outbound_root(image),
            &keeper.story,
        )?,
        plan: Arc::new(prepared.plan.clone()),
        sandbox: Arc::clone(&sandbox),
        client,
    };
    keeper.serve(living);
    tokio::spawn(watch::sandbox(Arc::clone(keeper), sandbox));
    Ok(())
}

/// The image of an existing cluster is the one it was made from, whatever its name means today.
fn image(
    keeper: &Keeper,
    reference: &str,
    digest: Option<&str>,
) -> Result<NodeImage, vial_image::Error> {
    let store = Store::open(&keeper.paths.home)?;
    match digest {
        Some(digest) => store.find(digest),
        None => store.find(reference),
    }
}

/// 64 random bits.
pub(crate) fn uid() -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
