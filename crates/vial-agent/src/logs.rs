//! Serves components' logs: their last lines, and what is appended, in whole lines with their times.
//!
//! The components write the files themselves (see [`launch`](crate::launch)); here they are only read, followed with
//! inotify(7), and kept from growing for ever (see [`rotate`]). When a line was written the line says mostly itself
//! ([`time`]), else the agent has noted it ([`marks`]).

pub(crate) mod marks;
mod rotate;
mod source;
mod time;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tonic::Status;
use vial_rpc::{ComponentSpec, LogsChunk, LogsRequest};
use vial_sys::error_chain;

use crate::nearest::unknown_component;
use crate::supervisor::{Subscription, Supervisor};
pub(crate) use rotate::rotate;
use source::Source;
use watch::Watch;

/// Chunks of at most 64 KiB that wait for a slow client.
const QUEUE: usize = 8;
/// Files are looked at at least that often, should the kernel not tell of a change (network file systems do not).
const LOOK: Duration = Duration::from_secs(2);

/// What a client reads.
pub type Chunks = mpsc::Receiver<Result<LogsChunk, Status>>;

type Sender = mpsc::Sender<Result<LogsChunk, Status>>;

/// Why no logs can be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogsError {
    #[error("{0}")]
    Unknown(String),
    #[error("{name} has no log file")]
    NoFile { name: String },
    #[error(transparent)]
    Gone(#[from] crate::supervisor::Gone),
}

/// Serves `request`; the returned queue ends when all is sent, or with the client when following.
pub(crate) async fn serve(
    supervisor: &Supervisor,
    request: LogsRequest,
) -> Result<Chunks, LogsError> {
    let subscription = supervisor.subscribe().await?;
    let specs = supervisor.specs().await?;
    let all = request.component.is_empty();
    if !all {
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let spec = specs.iter().find(|spec| spec.name == request.component);
        let spec =
            spec.ok_or_else(|| LogsError::Unknown(unknown_component(&request.component, &names)))?;
        if spec.log_file.is_empty() {
            return Err(LogsError::NoFile {
                name: request.component,
            });
        }
    }
    let (chunks, queue) = mpsc::channel(QUEUE);
    let supervisor = supervisor.clone();
    tokio::spawn(async move {
        let mut reading = Reading {
            sources: Vec::new(),
            wanted: request,
            chunks,
        };
        reading.add(&specs, Start::Tail);
        reading.serve(Some((supervisor, subscription))).await;
    });
    Ok(queue)
}

/// Serves `request` from a file that is no component's, as its component.
///
/// For logs that lie outside of every container: the keeper's, the first process's.
#[must_use]
pub fn serve_file(path: PathBuf, request: LogsRequest) -> Chunks {
    let (chunks, queue) = mpsc::channel(QUEUE);
    let spec = ComponentSpec {
        name: request.component.clone(),
        log_file: path.to_string_lossy().into_owned(),
        ..ComponentSpec::default()
    };
    tokio::spawn(async move {
        let mut reading = Reading {
            sources: Vec::new(),
            wanted: request,
            chunks,
        };
        reading.add(&[Arc::new(spec)], Start::Tail);
        reading.serve(None).await;
    });
    queue
}

/// The last `lines` lines of a file, each shortened to `longest` characters; empty when it cannot be read.
pub(crate) fn last_lines(path: &Path, lines: u64, longest: usize) -> Vec<String> {
    let mut source = Source::new(String::new(), path.to_path_buf());
    let mut text = Vec::new();
    // A log that cannot be read has no last lines.
    if source.seek_tail(lines).is_ok() {
        while let Ok(Some(chunk)) = source.next_chunk() {
            text.extend(chunk);
        }
        text.extend(source.take_unfinished());
    }
    String::from_utf8_lossy(&text)
        .lines()
        .map(|line| line.chars().take(longest).collect())
        .collect()
}

/// Where reading of a log begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// At the lines the client asked for.
    Tail,
    /// With the first line: the component is newer than the request.
    Whole,
}

/// One client's request being served.
struct Reading {
    sources: Vec<Source>,
    wanted: LogsRequest,
    chunks: Sender,
}

impl Reading {
    /// Adds the wanted logs that are not read yet.
    fn add(&mut self, specs: &[Arc<ComponentSpec>], start: Start) {
        for spec in specs {
            let wanted = self.wanted.component.is_empty() || self.wanted.component == spec.name;
            let path = PathBuf::from(&spec.log_file);
            let known = self.sources.iter().any(|source| source.path == path);
            if wanted && !known && !spec.log_file.is_empty() {
                let mut source = Source::new(spec.name.clone(), path);
                // It may not exist yet; then it is read from its beginning.
                let _ = match (start, self.wanted.offset, self.wanted.tail_lines) {
                    (Start::Tail, Some(offset), _) => source.seek(offset),
                    (Start::Tail, None, lines @ 1..) => source.seek_tail(lines),
                    (Start::Tail, None, 0) | (Start::Whole, ..) => Ok(()),
                };
                self.sources.push(source);
            }
        }
    }

    /// Ends when all is sent, or with the client when following; `components` may become more.
    async fn serve(&mut self, mut components: Option<(Supervisor, Subscription)>) {
        let watch = match self.wanted.follow.then(Watch::new).transpose() {
            Ok(watch) => watch,
            Err(error) => {
                let why = format!("cannot follow logs: {}", error_chain(&error));
                // A client that is gone needs no answer.
                let _ = self.chunks.send(Err(Status::resource_exhausted(why))).await;
                return;
            }
        };
        let mut caught_up = false;
        loop {
            if let Some(watch) = &watch {
                // Watched before read: what is written in between is noticed.
                for directory in self
                    .sources
                    .iter()
                    .filter_map(|source| source.path.parent())
                {
                    watch.add(directory);
                }
            }
            if self.send_new(watch.is_none()).await.is_err() {
                return;
            }
            let Some(watch) = &watch else { return };
            if !std::mem::replace(&mut caught_up, true) && self.tell_caught_up().await.is_err() {
                return;
            }
            tokio::select! {
                () = watch.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                () = self.chunks.closed() => return,
                more = more(&mut components) => match more {
                    Some(specs) => self.add(&specs, Start::Whole),
                    None => return,
                }
            }
        }
    }

    /// Tells for every log that all that was there is sent, and where it goes on.
    async fn tell_caught_up(&self) -> Result<(), mpsc::error::SendError<()>> {
        for source in &self.sources {
            let chunk = LogsChunk {
                component: source.component.clone(),
                next_offset: source.place(),
                caught_up: true,
                ..LogsChunk::default()
            };
            let sent = self.chunks.send(Ok(chunk)).await;
            sent.map_err(|_| mpsc::error::SendError(()))?;
        }
        Ok(())
    }

    /// Sends what is new in every log; `last`: also unfinished lines, as nothing comes after.
    async fn send_new(&mut self, last: bool) -> Result<(), mpsc::error::SendError<()>> {
        for source in &mut self.sources {
            loop {
                let data = match source.next_chunk() {
                    Ok(Some(data)) => data,
                    Ok(None) if last => match source.take_unfinished() {
                        data if data.is_empty() => break,
                        data => data,
                    },
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(path = %source.path.display(), %error, "cannot read a log");
                        break;
                    }
                };
                let lines = source.timed(data).since(self.wanted.since_unix_us);
                let chunk = LogsChunk {
                    component: source.component.clone(),
                    data: lines.data,
                    times_unix_us: lines.times,
                    next_offset: source.place(),
                    caught_up: false,
                };
                if chunk.data.is_empty() {
                    continue;
                }
                self.chunks
                    .send(Ok(chunk))
                    .await
                    .map_err(|_| mpsc::error::SendError(()))?;
            }
        }
        Ok(())
    }
}

/// All components, once they have changed; `None` when the supervisor is gone.
async fn more(
    components: &mut Option<(Supervisor, Subscription)>,
) -> Option<Vec<Arc<ComponentSpec>>> {
    let Some((supervisor, subscription)) = components else {
        return std::future::pending().await;
    };
    match subscription.changes.recv().await {
        Err(RecvError::Closed) => None,
        _ => supervisor.specs().await.ok(),
    }
}
