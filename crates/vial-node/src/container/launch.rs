//! The first process's side of a launch: speaks with the launcher until the agent serves.

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use vial_rpc::Clone as TreeClone;
use vial_sys::identity::Process;
use vial_sys::{During, SysError, mounts, tree};

use super::spec::LaunchSpec;
use crate::reaper::Reaper;
use crate::report::Report;

/// The static binary, as seen in the sandbox.
const PROGRAM: &str = "/vial/bin/vial";
/// The cluster's own directory, as seen in the sandbox.
const CLUSTER: &str = "/vial/cluster";
/// How much of an agent's log goes into an error.
const LOG_TAIL: usize = 2_000;

/// A container whose agent serves.
pub(super) struct Launched {
    pub(super) pid: i32,
    pub(super) process: Process,
    pub(super) exit: oneshot::Receiver<i32>,
}

/// Makes one of the trees a container needs.
pub(super) fn clone(clone: &TreeClone) -> Result<(), SysError> {
    let (source, target) = (Path::new(&clone.source), Path::new(&clone.target));
    if clone.whole.is_empty() {
        tree::clone(source, target, &clone.copy)
    } else {
        tree::shadow(source, target, &clone.copy, &clone.whole)
    }
}

/// Launches; on failure no process is left, but the cgroup may be.
pub(super) async fn launch(spec: &LaunchSpec, reaper: &Reaper) -> Result<Launched, SysError> {
    prepare(spec)?;
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(spec.log());
    let log = log.during(|| format!("open {}", spec.log().display()))?;
    let log_start = log
        .metadata()
        .map(|metadata| metadata.len())
        .unwrap_or_default();
    let operation = || format!("launch container {}", spec.name);
    let mut launcher = Command::new(PROGRAM);
    launcher
        .arg0("vial-container")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    // Its end is taken by the reaper: it is never waited for here.
    let mut launcher = launcher.spawn().during(operation)?;
    let (Some(mut tell), Some(hear)) = (launcher.stdin.take(), launcher.stdout.take()) else {
        return Err(SysError::other(operation(), "no pipes"));
    };
    let mut line = serde_json::to_vec(spec)
        .map_err(std::io::Error::from)
        .during(operation)?;
    line.push(b'\n');
    tell.write_all(&line).during(operation)?;

    let mut hear = Listener::new(hear.into()).during(operation)?;
    let pid = match hear.next().await.during(operation)? {
        Some(Report::Pid(pid)) => pid,
        Some(Report::Error(text)) => return Err(SysError::other(operation(), text)),
        _ => return Err(SysError::other(operation(), died(spec, log_start))),
    };
    // The child waits at its gate until the launcher hears from us: it cannot have ended yet.
    let exit = reaper.exit_of(pid);
    let process = Process::open(pid.unsigned_abs())?;
    tell.write_all(b"\n").during(operation)?;
    drop(tell);
    let failure = match hear.next().await.during(operation)? {
        Some(Report::Ready) => return Ok(Launched { pid, process, exit }),
        Some(Report::Error(text)) => text,
        _ => died(spec, log_start),
    };
    process.kill()?;
    // Whatever its exit code was: only that it is gone counts.
    let _ = exit.await;
    Err(SysError::other(operation(), failure))
}

/// Makes the directories, and takes away what an earlier agent left.
fn prepare(spec: &LaunchSpec) -> Result<(), SysError> {
    mounts::make_directory(spec.run_dir())?;
    mounts::make_directory(&spec.upper.join("upper"))?;
    mounts::make_directory(&spec.upper.join("work"))?;
    // On a disk of the sandbox's own nobody else makes them.
    let own = spec
        .mounts
        .iter()
        .filter_map(|mount| mount.source.as_deref());
    for source in own.filter(|source| source.starts_with(CLUSTER)) {
        mounts::make_directory(source)?;
    }
    match fs::remove_file(&spec.agent_socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).during(|| format!("remove {}", spec.agent_socket.display()))
        }
        _ => Ok(()),
    }
}

/// What an agent that ended before it was ready said last.
fn died(spec: &LaunchSpec, log_start: u64) -> String {
    let log = fs::read(spec.log()).unwrap_or_default();
    let new = log
        .get(usize::try_from(log_start).unwrap_or(usize::MAX)..)
        .unwrap_or_default();
    let tail = String::from_utf8_lossy(&new[new.len().saturating_sub(LOG_TAIL)..])
        .trim()
        .replace('\n', "; ");
    let tail = if tail.is_empty() {
        "it said nothing".to_owned()
    } else {
        tail
    };
    format!("it ended before it was ready: {tail}")
}

/// Hears [`Report`]s.
struct Listener {
    pipe: BufReader<pipe::Receiver>,
}

impl Listener {
    fn new(fd: OwnedFd) -> std::io::Result<Self> {
        Ok(Self {
            pipe: BufReader::new(pipe::Receiver::from_owned_fd(fd)?),
        })
    }

    /// The next one; `None` at the end of the pipe. An agent's single byte is one, whether or not it is a newline.
    async fn next(&mut self) -> std::io::Result<Option<Report>> {
        let mut line = Vec::new();
        loop {
            match self.pipe.read_u8().await {
                Ok(byte) => line.push(byte),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            // Lines of ours begin with a lower case letter of `pid`, `ready` or `error`.
            if line.ends_with(b"\n") || !matches!(line[0], b'p' | b'r' | b'e') {
                break;
            }
        }
        if line.is_empty() {
            Ok(None)
        } else {
            Ok(Some(Report::parse(&String::from_utf8_lossy(&line))))
        }
    }
}
