//! One archive with all that a bug report needs, and no secret.
//!
//! ```text
//! gatherers, each with a time limit ──pieces──► redact (pure) ──► archive (tar.gz), and a line of its index
//!     └─ cannot, or not in time ──────────────────────────────────────────────────► a line of its index
//! ```
//! What is gathered comes past whatever may be stuck: logs from the disks, the API by a connection into the sandbox, and
//! only what nobody else knows from the keeper. Nothing is started, changed or mended: a bug is to be seen as it is.

mod archive;
mod gather;
mod index;
mod redact;

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use vial_engine::record::Record;

pub(crate) use archive::Target;
pub(crate) use index::Summary;

use crate::context::Context;
use crate::error::Result;
use crate::ui::Progress;
use archive::Archive;
use gather::{Tray, Wrote};
use index::Index;
use redact::{Known, Redactor};

/// What looking at a machine may take.
const HOST: Duration = Duration::from_secs(30);
/// What reading all objects of the API may take.
const API: Duration = Duration::from_secs(60);
/// What the keeper may take for each question; it may be stuck.
const KEEPER: Duration = Duration::from_secs(45);
/// What reading the disks may take.
const DISK: Duration = Duration::from_secs(60);
/// What a node may take.
const NODE: Duration = Duration::from_secs(30);

/// What the archive is about.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The cluster; `None`: only the machine.
    pub(crate) cluster: Option<String>,
    /// The directory that everything lies in: `vial-diagnose-dev-20261121T120000Z`.
    pub(crate) title: String,
}

/// What is known before anything is gathered, and what one gatherer tells the others.
#[derive(Debug, Default)]
struct Clues {
    known: Known,
    /// Pods whose logs are wanted, by uid; `None` when the API does not say.
    pods: Option<HashSet<String>>,
}

/// Gathers, and writes the archive.
///
/// # Errors
/// When the archive cannot be written. What cannot be gathered is told in its index.
pub(crate) async fn write(context: &Context, subject: &Subject, target: Target) -> Result<Summary> {
    let mut progress = context.ui.progress();
    let archive = Archive::begin(target, &subject.title)?;
    let (tray, mut pieces) = Tray::new();
    let name = subject.cluster.as_deref();
    let record = name.and_then(|name| Record::load(&context.paths, name).ok().flatten());

    // First what says what is secret.
    let mut clues = Clues::default();
    if let Some(name) = name {
        gather::disk::secrets(&context.paths, name, record.as_ref(), &mut clues.known);
        let api = gather::kubernetes::gather(context, record.as_ref(), &tray, &mut clues);
        run(&mut progress, "ask the API", "kubernetes/", API, &tray, api).await;
    }
    let mut writing = Writing {
        redactor: Redactor::knowing(&clues.known),
        archive,
        index: Index::default(),
    };

    type Job<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
    let mut jobs: Vec<(String, &str, Duration, Job<'_>)> = Vec::new();
    let job = |title: &str| title.to_owned();
    jobs.push((
        job("look at the machine"),
        "host/",
        HOST,
        Box::pin(gather::host::gather(context, &tray)),
    ));
    if let Some(name) = name {
        let pods = clues.pods.take();
        jobs.push((
            job("ask the keeper"),
            "cluster/",
            KEEPER,
            Box::pin(gather::keeper::gather(context, name, &tray)),
        ));
        jobs.push((
            job("read records and logs"),
            "logs/",
            DISK,
            Box::pin(gather::disk::gather(
                context,
                name,
                record.as_ref(),
                pods,
                &tray,
            )),
        ));
        for node in record.iter().flat_map(|record| &record.spec.nodes) {
            let gathered = gather::nodes::gather(context, name, node, &tray);
            jobs.push((
                job(&format!("ask {}", node.name)),
                "nodes/",
                NODE,
                Box::pin(gathered),
            ));
        }
    }
    let mut running = FuturesUnordered::new();
    for (title, place, limit, gathered) in jobs {
        let id = title.clone();
        progress.started(&id, &title, None, progress.now_us());
        let tray = &tray;
        running.push(async move {
            let done = tokio::time::timeout(limit, gathered).await;
            if done.is_err() {
                tray.late(place, &title, limit);
            }
            id
        });
    }
    loop {
        tokio::select! {
            biased;
            Some(piece) = pieces.recv() => writing.add(piece)?,
            ended = running.next() => match ended {
                Some(id) => progress.finished(&id, progress.now_us()),
                None => break,
            },
        }
    }
    while let Ok(piece) = pieces.try_recv() {
        writing.add(piece)?;
    }
    progress.end(false);
    writing.end(subject)
}

/// One gatherer by itself.
async fn run(
    progress: &mut Progress,
    title: &str,
    place: &str,
    limit: Duration,
    tray: &Tray,
    gathered: impl Future<Output = ()>,
) {
    progress.started(title, title, None, progress.now_us());
    if tokio::time::timeout(limit, gathered).await.is_err() {
        tray.late(place, title, limit);
    }
    progress.finished(title, progress.now_us());
}

/// The archive as it grows.
struct Writing {
    redactor: Redactor,
    archive: Archive,
    index: Index,
}

impl Writing {
    fn add(&mut self, piece: gather::Piece) -> Result<()> {
        // Names are others' words, too.
        let path = self.redactor.text(&piece.path);
        let what = self.redactor.text(&piece.what);
        let text = match piece.wrote {
            Wrote::Text(text) => text,
            Wrote::Json(mut value) => {
                self.redactor.object(&mut value);
                crate::output::json(&value)?
            }
            Wrote::Yaml(mut value) => {
                self.redactor.object(&mut value);
                crate::output::yaml(&value)?
            }
            Wrote::Specification(mut value) => {
                if let Some(spec) = value.pointer_mut("/spec") {
                    self.redactor.specification(spec);
                }
                self.redactor.object(&mut value);
                crate::output::json(&value)?
            }
            Wrote::Nothing(why) => {
                let why = self.redactor.text(&why);
                self.index.failed(path, what, why);
                return Ok(());
            }
        };
        let text = self.redactor.text(&text);
        self.archive.add(&path, text.as_bytes())?;
        self.index.added(path, what, text.len());
        Ok(())
    }

    fn end(mut self, subject: &Subject) -> Result<Summary> {
        let readme = self.index.readme(subject);
        self.archive.add("README.txt", readme.as_bytes())?;
        let bytes = self.archive.end()?;
        Ok(self.index.summary(bytes))
    }
}

type Pieces = mpsc::UnboundedReceiver<gather::Piece>;
