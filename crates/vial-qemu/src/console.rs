//! A machine's serial console: what it has said, what it says, and what is typed.
//!
//! QEMU serves the console as a unix socket and writes all that the guest says to a log as well
//! (`-chardev socket,…,logfile=…`). What is shown comes from the log only, first its end and then what is added to it: so
//! nothing is lost or shown twice where the past meets the present. What is typed goes to the socket; what comes from
//! there is dropped, and its end is the machine's.
//!
//! ```text
//! console.log ── tail, then what is added (inotify) ──► out
//! keys ── until the detach key ──► console.sock ──► the guest
//! ```
//! QEMU serves one client at a time, and says nothing to the next; so whoever is connected holds a lock on the log
//! (flock(2)).

mod log;

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use log::Log;

/// How many lines of a log are told.
const LINES: usize = 10;

/// What a log says last: ten lines that are not empty, or what is there; nothing when it cannot be read.
#[must_use]
pub fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Ctrl-]: as in virsh(1) and telnet(1).
pub const DETACH: u8 = 0x1d;

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The machine does not run. Its log may still be there.
    #[error("cannot connect to the console at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The log cannot be read or followed.
    #[error("cannot read {}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another client is connected.
    #[error("somebody else is at the console")]
    Taken,
    /// What the machine says cannot be shown.
    #[error("cannot write what the machine says")]
    Show(#[source] io::Error),
}

/// Where a machine's console is.
#[derive(Debug, Clone)]
pub struct Places {
    /// What QEMU serves.
    pub socket: PathBuf,
    /// What it writes.
    pub log: PathBuf,
}

impl Places {
    /// In the run directory of a machine's container: `$VIAL_RUN/CLUSTER/agents/NODE.machine`.
    #[must_use]
    pub fn below(directory: &Path) -> Self {
        Self {
            socket: directory.join("console.sock"),
            log: directory.join("console.log"),
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The detach key was typed.
    Detached,
    /// The machine is gone.
    Closed,
}

/// The last lines that a machine has said; empty when there is no log.
///
/// # Errors
/// When it cannot be read.
pub fn last_lines(log: &Path, lines: usize) -> Result<Vec<u8>, ConsoleError> {
    let read = || Log::open(log)?.tail(lines);
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|source| ConsoleError::Log {
            path: log.to_path_buf(),
            source,
        }),
    }
}

/// Shows the last `lines` and all that follows, and passes `keys` to the guest, until [`DETACH`] is among them or the
/// machine ends. The end of `keys` ends nothing.
///
/// # Errors
/// When the machine does not run, another client is there, or `show` fails.
pub async fn attach(
    places: &Places,
    lines: usize,
    mut keys: mpsc::Receiver<Vec<u8>>,
    mut show: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<End, ConsoleError> {
    let log_error = |source| ConsoleError::Log {
        path: places.log.clone(),
        source,
    };
    let socket = UnixStream::connect(&places.socket).await;
    let mut socket = socket.map_err(|source| ConsoleError::Connect {
        path: places.socket.clone(),
        source,
    })?;
    let mut log = Log::open(&places.log).map_err(log_error)?;
    if !log.lock().map_err(log_error)? {
        return Err(ConsoleError::Taken);
    }
    let changes = log.changes().map_err(log_error)?;
    show(&log.tail(lines).map_err(log_error)?).map_err(ConsoleError::Show)?;

    let (mut said, mut typed) = socket.split();
    let mut dropped = [0; 4096];
    let mut typing = true;
    let end = loop {
        tokio::select! {
            changed = changes.next() => changed.map_err(log_error)?,
            read = said.read(&mut dropped) => if matches!(read, Ok(0) | Err(_)) {
                break End::Closed;
            },
            some = keys.recv(), if typing => {
                let some = some.unwrap_or_default();
                let (before, detached) = until_detached(&some);
                // A machine that is gone tells so by its other direction.
                typing = !some.is_empty() && typed.write_all(before).await.is_ok();
                if detached {
                    break End::Detached;
                }
            }
        }
        show(&log.added().map_err(log_error)?).map_err(ConsoleError::Show)?;
    };
    show(&log.added().map_err(log_error)?).map_err(ConsoleError::Show)?;
    Ok(end)
}

/// What is typed before the detach key, and whether it is there.
fn until_detached(keys: &[u8]) -> (&[u8], bool) {
    match keys.iter().position(|key| *key == DETACH) {
        Some(at) => (&keys[..at], true),
        None => (keys, false),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::sync::{Arc, Mutex};

    use tokio::net::UnixListener;

    use super::*;

    /// A machine's end of its console, and somebody who looks at it.
    struct Lab {
        directory: tempfile::TempDir,
        listener: UnixListener,
        shown: Arc<Mutex<Vec<u8>>>,
        keys: mpsc::Sender<Vec<u8>>,
        attached: tokio::task::JoinHandle<Result<End, ConsoleError>>,
    }

    impl Lab {
        fn places(&self) -> Places {
            Places::below(self.directory.path())
        }

        fn start(before: &str, lines: usize) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let places = Places::below(directory.path());
            fs::write(&places.log, before).unwrap();
            let listener = UnixListener::bind(&places.socket).unwrap();
            let (keys, typed) = mpsc::channel(1);
            let shown = Arc::new(Mutex::new(Vec::new()));
            let show = shown.clone();
            let attached = tokio::spawn(async move {
                let show = |bytes: &[u8]| {
                    show.lock().unwrap().extend_from_slice(bytes);
                    Ok(())
                };
                attach(&places, lines, typed, show).await
            });
            Self {
                directory,
                listener,
                shown,
                keys,
                attached,
            }
        }

        /// As QEMU does: to who is connected, then to the log.
        async fn say(&self, socket: &mut UnixStream, text: &str) {
            socket.write_all(text.as_bytes()).await.unwrap();
            let mut log = OpenOptions::new()
                .append(true)
                .open(self.places().log)
                .unwrap();
            log.write_all(text.as_bytes()).unwrap();
        }

        async fn until_shown(&self, text: &str) {
            while self.shown.lock().unwrap().as_slice() != text.as_bytes() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }

    #[tokio::test]
    async fn the_past_comes_first_and_the_present_follows_once() {
        let lab = Lab::start("one\ntwo\nlogin: ", 2);
        let mut socket = lab.listener.accept().await.unwrap().0;
        lab.until_shown("two\nlogin: ").await;
        lab.say(&mut socket, "root\r\n").await;
        lab.until_shown("two\nlogin: root\r\n").await;
        // Said and gone at once: the last words are shown.
        lab.say(&mut socket, "reboot: Power down\r\n").await;
        drop(socket);
        assert_eq!(lab.attached.await.unwrap().unwrap(), End::Closed);
        let shown = String::from_utf8(lab.shown.lock().unwrap().clone()).unwrap();
        assert_eq!(shown, "two\nlogin: root\r\nreboot: Power down\r\n");
    }

    #[tokio::test]
    async fn keys_come_to_the_guest_until_the_detach_key() {
        let lab = Lab::start("", 0);
        let mut socket = lab.listener.accept().await.unwrap().0;
        lab.keys.send(b"ls\r".to_vec()).await.unwrap();
        let mut typed = [0; 3];
        socket.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"ls\r");
        lab.keys.send(b"exit\x1dnot this".to_vec()).await.unwrap();
        assert_eq!(lab.attached.await.unwrap().unwrap(), End::Detached);
        let mut rest = String::new();
        socket.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "exit");
    }

    #[tokio::test]
    async fn one_at_a_time() {
        let lab = Lab::start("hello\n", 10);
        let _socket = lab.listener.accept().await.unwrap().0;
        lab.until_shown("hello\n").await;
        let (_keys, typed) = mpsc::channel(1);
        let second = attach(&lab.places(), 0, typed, |_| Ok(())).await;
        assert!(matches!(second, Err(ConsoleError::Taken)), "{second:?}");
    }

    #[tokio::test]
    async fn a_machine_that_does_not_run_still_has_said_something() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::below(directory.path());
        assert_eq!(last_lines(&places.log, 5).unwrap(), b"");
        fs::write(&places.log, "Kernel panic - not syncing\n").unwrap();
        let (_keys, typed) = mpsc::channel(1);
        let error = attach(&places, 0, typed, |_| Ok(())).await.unwrap_err();
        assert!(matches!(error, ConsoleError::Connect { .. }), "{error:?}");
        assert_eq!(
            last_lines(&places.log, 5).unwrap(),
            b"Kernel panic - not syncing\n"
        );
    }
}
