//! Starting a keeper and waiting for its end.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vial_engine::paths::Paths;
use vial_sys::identity::Process;
use vial_sys::session::{self, Terminal};

use super::{Client, ClientError};
use crate::lock::private_dir;

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
    let begun = Instant::now();
    loop {
        if let Some(client) = Client::connect(paths, name).await {
            return Ok(client);
        }
        let program = vial_engine::execute::program(paths).map_err(ClientError::Engine)?;
        let (paths, cluster, log) = (paths.clone(), name.to_owned(), log.clone());
        let spawned = tokio::task::spawn_blocking(move || spawn(&paths, &cluster, &program, &log));
        match spawned
            .await
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
            "busy" => {
                return Err(failed(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "another one holds the cluster's lock and does not answer",
                )));
            }
            _ => return Err(failed(io::Error::other("it ended at once"))),
        }
    }
}

/// Starts the process in a session of its own and reads its first word.
fn spawn(paths: &Paths, name: &str, program: &Path, log: &Path) -> io::Result<String> {
    private_dir(&paths.run_dir(name))?;
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

/// Resolves when the process is gone.
pub(super) async fn ended(pid: u32) {
    // A process that cannot be opened is gone already.
    let _ =
        tokio::task::spawn_blocking(move || Process::open(pid).and_then(|process| process.wait()))
            .await;
}
