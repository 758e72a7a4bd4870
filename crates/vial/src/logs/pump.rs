//! One place's log as it comes: a task that reads it, and begins again where it ended.
//!
//! ```text
//! ──open──► reading ──(all that was there)──► caught up ──(following)──► reading …
//!   ▲          └─(cannot, silent, ended)──► lost ──┐
//!   └──────────(following, after a pause)──────────┘        not following: the queue ends
//! ```

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use vial_rpc::agent_client::AgentClient;
use vial_rpc::{LogsChunk, LogsRequest, Status};

use super::Line;
use super::place::{Origin, Place};

/// An agent that says nothing for so long, while it has to send what is there, is stuck.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before a stream that was lost is opened again.
const PAUSE: Duration = Duration::from_millis(500);
/// Messages that wait to be merged.
const QUEUE: usize = 4;

type Chunks = Pin<Box<dyn Stream<Item = Result<LogsChunk, Status>> + Send>>;

/// News of one log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Some lines, in their order.
    Lines(Vec<Line>),
    /// All that was there has come.
    CaughtUp,
    /// It cannot be read (any more), and why.
    Lost(String),
}

/// Where to begin, and whether to go on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Range {
    /// Go on with what comes.
    pub(crate) follow: bool,
    /// So many last lines; 0: all.
    pub(crate) tail: u64,
    /// Only lines that were written then or later, in microseconds since 1970.
    pub(crate) since: i64,
}

/// Starts reading; the queue ends with the log, when not following.
pub(crate) fn start(place: Place, range: Range) -> mpsc::Receiver<News> {
    let (news, queue) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut request = LogsRequest {
            component: place.component.clone(),
            follow: range.follow,
            tail_lines: range.tail,
            since_unix_us: range.since,
            offset: None,
        };
        let mut lost = false;
        // Only a reader that is gone ends it early.
        while let Ok(ended) = read(&place, &mut request, &news, &mut lost).await {
            // Once, until it is read again.
            if let Some(why) = ended
                && !std::mem::replace(&mut lost, true)
                && news.send(News::Lost(why)).await.is_err()
            {
                return;
            }
            if !range.follow {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = news.closed() => return,
            }
        }
    });
    queue
}

/// The reader is gone.
struct Gone;

/// Reads until the stream ends; says why, when it should not have.
async fn read(
    place: &Place,
    request: &mut LogsRequest,
    news: &mpsc::Sender<News>,
    lost: &mut bool,
) -> Result<Option<String>, Gone> {
    let mut chunks = match tokio::time::timeout(PATIENCE, open(place, request)).await {
        Ok(Ok(chunks)) => chunks,
        Ok(Err(why)) => return Ok(Some(why)),
        Err(_) => return Ok(Some(silent())),
    };
    let mut caught_up = false;
    loop {
        let next = async {
            match caught_up {
                true => Ok(chunks.next().await),
                false => tokio::time::timeout(PATIENCE, chunks.next()).await,
            }
        };
        let next = tokio::select! {
            next = next => next,
            () = news.closed() => return Err(Gone),
        };
        let chunk = match next {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(status))) => return Ok(Some(refused(&status))),
            Ok(None) if request.follow => return Ok(Some("it ended".to_owned())),
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(silent())),
        };
        *lost = false;
        request.offset = Some(chunk.next_offset);
        caught_up |= chunk.caught_up;
        let told = match chunk.caught_up {
            true => News::CaughtUp,
            false => News::Lines(lines(&chunk)),
        };
        news.send(told).await.map_err(|_| Gone)?;
    }
}

async fn open(place: &Place, request: &LogsRequest) -> Result<Chunks, String> {
    match &place.origin {
        Origin::Agent(run, container) => {
            // One connection for each log: streams of one connection would wait for each other.
            let channel = vial_sandbox::agent(run, container).await;
            let channel = channel.map_err(|_| "its agent does not answer".to_owned())?;
            let chunks = AgentClient::new(channel).logs(request.clone()).await;
            let chunks = chunks.map_err(|status| refused(&status))?;
            Ok(chunks.into_inner().boxed())
        }
        Origin::File(path) => {
            // A log that is not there yet has no lines yet.
            let chunks = vial_agent::serve_log_file(path.clone(), request.clone());
            Ok(ReceiverStream::new(chunks).boxed())
        }
    }
}

/// What an agent said, or that it went away.
fn refused(status: &Status) -> String {
    match status.code() {
        vial_rpc::Code::Unknown | vial_rpc::Code::Unavailable | vial_rpc::Code::Internal => {
            "its agent went away".to_owned()
        }
        _ => status.message().to_owned(),
    }
}

fn silent() -> String {
    format!("its agent is silent for {} seconds", PATIENCE.as_secs())
}

fn lines(chunk: &LogsChunk) -> Vec<Line> {
    let lines = chunk.data.split_inclusive(|byte| *byte == b'\n');
    let times = chunk.times_unix_us.iter().copied();
    lines
        .zip(times)
        .map(|(text, time)| Line {
            time,
            text: text.to_vec(),
        })
        .collect()
}
