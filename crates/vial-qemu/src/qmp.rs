//! A client of QEMU's machine protocol over a unix socket.
//!
//! QMP is JSON, one object a line: a greeting, then answers and events, answers with the `id` of their command
//! (<https://www.qemu.org/docs/master/interop/qmp-spec.html>). That is little enough for code of our own: the crate qapi
//! was last released in September 2024, generates all of QEMU 9's schema, and fails at an event that it does not know.
//!
//! # Lifecycle
//! ```text
//! connect ──► greeting ──► qmp_capabilities ──► commands, events ──► the socket ends: quit, or QEMU is gone
//! ```
//! A task of its own reads; it ends with the socket, or when every [`Qmp`] is dropped. A socket of QEMU serves one client
//! at a time: the next one is greeted when the first has left.

mod commands;
mod event;
mod lend;
mod message;
mod migration;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, mpsc, oneshot};

pub use commands::{Cpu, Memory, RunState, Status};
pub use event::{Event, EventKind, ShutdownReason};
pub use lend::Lent;
pub use message::Version;
use message::{Message, Refusal};
pub use migration::{Migration, Progress};

/// How long an answer may take unless something else is said. QEMU answers within milliseconds, but for what waits for a
/// disk.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest line that is read, in bytes: the schema of QEMU, which nobody asks for here, is some hundred thousand.
const LONGEST: u64 = 8 * 1024 * 1024;
/// Events that wait for somebody who is slow.
const EVENTS: usize = 64;

/// Why a machine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// Nobody listens at the socket.
    #[error("cannot connect to QEMU at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not speak as QEMU does.
    #[error("no greeting of QEMU at {}: {text}", path.display())]
    Greeting {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// QEMU said no.
    #[error("QEMU refuses {command}: {text}")]
    Refused {
        /// What was asked.
        command: String,
        /// The class of the error, for programs: `GenericError`, `CommandNotFound`.
        class: String,
        /// QEMU's words.
        text: String,
    },
    /// No answer in time; it may still be done.
    #[error("QEMU does not answer {command} within {} s", limit.as_secs())]
    Late {
        /// What was asked.
        command: String,
        /// How long was waited.
        limit: Duration,
    },
    /// QEMU ended, or closed the socket.
    #[error("QEMU went away during {command}")]
    Gone {
        /// What was asked.
        command: String,
    },
    /// The answer is of another form than documented.
    #[error("cannot understand QEMU's answer to {command}")]
    Unexpected {
        /// What was asked.
        command: String,
        /// Where it differs.
        source: serde_json::Error,
    },
    /// What QEMU writes has no place, or cannot be read.
    #[error("cannot keep the picture of the display")]
    Picture(#[source] io::Error),
}

/// A connection to one machine's monitor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Qmp {
    requests: mpsc::Sender<Request>,
    /// Strong where they come from, so that they end there.
    events: Weak<broadcast::Sender<Event>>,
    version: Version,
}

#[derive(Debug)]
struct Request {
    command: Value,
    /// Goes along with the command.
    file: Option<OwnedFd>,
    answer: oneshot::Sender<Result<Value, Refusal>>,
}

impl Qmp {
    /// Connects, and makes QEMU ready for commands.
    ///
    /// # Errors
    /// When nobody listens, or nobody greets within [`PATIENCE`]: another client may be connected.
    pub async fn connect(path: &Path) -> Result<Self, QmpError> {
        let stream = UnixStream::connect(path).await;
        let stream = stream.map_err(|source| QmpError::Connect {
            path: path.to_path_buf(),
            source,
        })?;
        let (read, write) = stream.into_split();
        let mut lines = Lines::new(read);
        let greeting = tokio::time::timeout(PATIENCE, lines.next()).await;
        let wrong = |text: &str| QmpError::Greeting {
            path: path.to_path_buf(),
            text: text.to_owned(),
        };
        let version = match greeting {
            Err(_) => return Err(wrong("another client may be connected")),
            Ok(Some(Message::Greeting(version))) => version,
            Ok(Some(_)) => return Err(wrong("something else came first")),
            Ok(None) => return Err(wrong("it was closed")),
        };
        let (requests, queue) = mpsc::channel(EVENTS);
        let events = Arc::new(broadcast::channel(EVENTS).0);
        let qmp = Self {
            requests,
            events: Arc::downgrade(&events),
            version,
        };
        tokio::spawn(converse(lines, write, queue, events));
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Which QEMU it is.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What happens to the machine from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let subscribed = self.events.upgrade().map(|events| events.subscribe());
        Events(subscribed.unwrap_or_else(|| broadcast::channel(1).1))
    }

    /// Executes any command; its answer as it comes.
    ///
    /// # Errors
    /// When QEMU refuses it, does not answer within [`PATIENCE`], or is gone.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.execute_within(PATIENCE, command, arguments).await
    }

    /// The same with another time limit.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute).
    pub async fn execute_within(
        &self,
        limit: Duration,
        command: &str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        self.request(limit, command, arguments, None).await
    }

    async fn request(
        &self,
        limit: Duration,
        command: &str,
        arguments: Value,
        file: Option<OwnedFd>,
    ) -> Result<Value, QmpError> {
        let name = || command.to_owned();
        let (answer, answered) = oneshot::channel();
        let request = Request {
            command: json!({ "execute": command, "arguments": arguments }),
            file,
            answer,
        };
        let asked = async {
            self.requests.send(request).await.ok()?;
            answered.await.ok()
        };
        match tokio::time::timeout(limit, asked).await {
            Err(_) => Err(QmpError::Late {
                command: name(),
                limit,
            }),
            Ok(None) => Err(QmpError::Gone { command: name() }),
            Ok(Some(Ok(value))) => Ok(value),
            Ok(Some(Err(Refusal { class, text }))) => Err(QmpError::Refused {
                command: name(),
                class,
                text,
            }),
        }
    }
}

/// What happens to a machine.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None` when QEMU is gone. Who is slow misses the oldest.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events of QEMU were missed");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Passes commands to QEMU, answers to who asked, events to everybody.
async fn converse(
    mut lines: Lines,
    mut write: OwnedWriteHalf,
    mut queue: mpsc::Receiver<Request>,
    events: Arc<broadcast::Sender<Event>>,
) {
    let mut waiting = HashMap::new();
    let mut number = 0_u64;
    loop {
        tokio::select! {
            request = queue.recv() => {
                let Some(Request { mut command, file, answer }) = request else { return };
                number += 1;
                command["id"] = number.into();
                waiting.insert(number, answer);
                let line = format!("{command}\n");
                if lend::write(&mut write, line.as_bytes(), file).await.is_err() {
                    return;
                }
            }
            message = lines.next() => match message {
                Some(Message::Answer { id, answer }) => {
                    if let Some(asked) = waiting.remove(&id) {
                        // Who asked may have given up.
                        let _ = asked.send(answer);
                    }
                }
                Some(Message::Event(event)) => {
                    // Nobody need listen.
                    let _ = events.send(event);
                }
                Some(Message::Greeting(_) | Message::Other) => {}
                None => return,
            }
        }
    }
}

/// The messages that come.
struct Lines {
    read: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
}

impl Lines {
    fn new(read: OwnedReadHalf) -> Self {
        Self {
            read: BufReader::new(read),
            line: Vec::new(),
        }
    }

    /// The next one; `None` at the end, or where nothing can be understood any more. May be dropped and called again.
    async fn next(&mut self) -> Option<Message> {
        let room = LONGEST.saturating_sub(self.line.len() as u64);
        let mut some = (&mut self.read).take(room);
        // What has been read stays in `line` when this is dropped in between.
        let read = some.read_until(b'\n', &mut self.line).await;
        if read.is_err() || self.line.last() != Some(&b'\n') {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        Some(message::parse(&line))
    }
}
