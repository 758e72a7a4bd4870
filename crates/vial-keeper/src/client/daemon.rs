//! Starting a keeper and waiting for its end.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vial_engine::paths::Paths;
use vial_sys::identity::Process;
use vial_sys::lock::{self, Holder};
use vial_sys::session::{self, Terminal};

use super::{Client, ClientError};

/// How long another keeper of the cluster may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Connects, starting a keeper when nobody answers.
pub(super) async fn start(paths: &Paths, name: &str) -> Result<Client, ClientError> {
    let log = paths.run_dir(name).join("keeper.log");
    let failed = |source| ClientError::Start {
        cluster: name.to_owned(),
        log: log.clone(),
        source,
    };
    let silent = || ClientError::Silent {
        cluster: name.to_owned(),
        pid: holder(paths, name).map(|holder| holder.pid),
        seconds: PATIENCE.as_secs(),
    };
    let begun = Instant::now();
    loop {
        if let Some(client) = Client::connect(paths, name).await {
            return Ok(client);
        }
        elsewhere(paths, name)?;
        let program = vial_engine::execute::program(paths).map_err(ClientError::Engine)?;
        let (cluster, log) = (name.to_owned(), log.clone());
        let spawned = {
            let paths = paths.clone();
            tokio::task::spawn_blocking(move || spawn(&paths, &cluster, &program, &log))
        };
        match tokio::time::timeout(PATIENCE, spawned)
            .await
            .map_err(|_| silent())?
            .map_err(io::Error::other)
            .and_then(|said| said)
            .map_err(failed)?
            .as_str()
        {
            "ready" => {}
            // One that is just starting or just ending holds the lock; nobody tells us when it lets go.
            "busy" if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await
            }
            "busy" => return Err(silent()),
            _ => return Err(failed(io::Error::other("it ended at once"))),
        }
    }
}

/// Starts the process in a session of its own and reads its first word.
fn spawn(paths: &Paths, name: &str, program: &Path, log: &Path) -> io::Result<String> {
    paths.make_run_dir(name)?;
    let log = fs::File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.arg0("vial-keeper").arg(name);
    command
        .env("VIAL_HOME", &paths.home)
        .env("VIAL_RUN", &paths.run);
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = session::prepare(&mut command, Terminal::None, None).spawn()?;
    let mut word = String::new();
    let mut byte = [0];
    if let Some(mut stdout) = child.stdout.take() {
        while stdout.read(&mut byte)? == 1 && byte != *b"\n" {
            word.push(char::from(byte[0]));
        }
    }
    if word != "ready" {
        // It ends by itself; as its parent we take its status.
        child.wait()?;
    }
    Ok(word)
}

/// Resolves when the process is gone, or with `false` when it does not go.
pub(super) async fn ended(pid: u32) -> bool {
    // A process that cannot be opened is gone already.
    match Process::open(pid) {
        Ok(process) => goes(process).await,
        Err(_) => true,
    }
}

async fn goes(process: Process) -> bool {
    let waiting = tokio::task::spawn_blocking(move || process.wait());
    tokio::time::timeout(PATIENCE, waiting).await.is_ok()
}

/// Ends the keeper that signed the cluster's lock; fine when there is none.
pub(super) async fn end(paths: &Paths, name: &str) -> Result<(), ClientError> {
    elsewhere(paths, name)?;
    let Some(Holder { pid, process, .. }) = holder(paths, name) else {
        return Ok(());
    };
    let failed = |source| ClientError::End {
        cluster: name.to_owned(),
        source,
    };
    process.kill().map_err(|error| failed(error.source))?;
    if goes(process).await {
        return Ok(());
    }
    let still = format!("process {pid} was killed and is still there");
    Err(failed(io::Error::new(io::ErrorKind::TimedOut, still)))
}

/// The living keeper, as it signed the lock.
fn holder(paths: &Paths, name: &str) -> Option<Holder> {
    lock::holder(&paths.lock_file(name)).ok().flatten()
}

/// Refuses when the cluster has a keeper under another run directory: what that one has there is not to be seen from here.
///
/// # Errors
/// Says where it answers.
pub(crate) fn elsewhere(paths: &Paths, name: &str) -> Result<(), ClientError> {
    match holder(paths, name) {
        Some(holder) if holder.answers_at != paths.keeper_socket(name) => {
            Err(ClientError::Elsewhere {
                cluster: name.to_owned(),
                pid: holder.pid,
                socket: holder.answers_at,
            })
        }
        _ => Ok(()),
    }
}
