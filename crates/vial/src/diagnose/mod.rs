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
mod writing;

use std::collections::HashSet;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use vial_engine::record::Record;

pub(crate) use archive::Target;
pub(crate) use index::Summary;

use crate::context::Context;
use crate::error::Result;
use archive::Archive;
use gather::Tray;
use redact::{Known, Redactor};
use writing::Writing;

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

/// A gatherer at work.
struct Job<'a> {
    /// For people: `ask w-1`.
    title: String,
    /// Where in the archive its pieces lie.
    place: &'static str,
    limit: Duration,
    gathered: BoxFuture<'a, ()>,
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
    let record = record.as_ref();

    // First what says what is secret.
    let mut clues = Clues::default();
    if let Some(name) = name {
        gather::disk::secrets(&context.paths, name, record, &mut clues.known);
        let title = "ask the API";
        progress.started(title, title, None, progress.now_us());
        let gathered = gather::kubernetes::gather(context, record, &tray, &mut clues);
        if tokio::time::timeout(API, gathered).await.is_err() {
            tray.late("kubernetes/", title, API);
        }
        progress.finished(title, progress.now_us());
    }
    let mut writing = Writing::new(archive, Redactor::knowing(&clues.known));

    let mut running = FuturesUnordered::new();
    for job in jobs(context, name, record, clues.pods, &tray) {
        progress.started(&job.title, &job.title, None, progress.now_us());
        let tray = &tray;
        running.push(async move {
            let done = tokio::time::timeout(job.limit, job.gathered).await;
            if done.is_err() {
                tray.late(job.place, &job.title, job.limit);
            }
            job.title
        });
    }
    loop {
        tokio::select! {
            biased;
            Some(piece) = pieces.recv() => writing.add(piece)?,
            ended = running.next() => match ended {
                Some(title) => progress.finished(&title, progress.now_us()),
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

/// All gatherers that wait for nothing.
fn jobs<'a>(
    context: &'a Context,
    cluster: Option<&'a str>,
    record: Option<&'a Record>,
    pods: Option<HashSet<String>>,
    tray: &'a Tray,
) -> Vec<Job<'a>> {
    let job = |title: String, place, limit, gathered| Job {
        title,
        place,
        limit,
        gathered,
    };
    let host = gather::host::gather(context, tray).boxed();
    let mut jobs = vec![job("look at the machine".to_owned(), "host/", HOST, host)];
    let Some(name) = cluster else { return jobs };
    let keeper = gather::keeper::gather(context, name, tray).boxed();
    jobs.push(job("ask the keeper".to_owned(), "cluster/", KEEPER, keeper));
    let disk = gather::disk::gather(context, name, record, pods, tray).boxed();
    jobs.push(job("read records and logs".to_owned(), "logs/", DISK, disk));
    for node in record.into_iter().flat_map(|record| &record.spec.nodes) {
        let gathered = gather::nodes::gather(context, name, node, tray).boxed();
        jobs.push(job(format!("ask {}", node.name), "nodes/", NODE, gathered));
    }
    jobs
}
