//! Starting the first process of a sandbox.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use vial_node::init::{PID_FILE, Report};
use vial_sys::identity::{Identity, Process};

use super::{init_spec, sweep};
use crate::errors::to_io;
use crate::{SandboxSpec, pid_file};

/// Below the run directory: what the first process logs.
const LOG: &str = "init.log";

/// Starts it and returns when it serves; on failure nothing is left.
pub(super) async fn make(spec: &SandboxSpec) -> io::Result<(Identity, Process)> {
    if pid_file::find(&spec.run_dir, PID_FILE)
        .map_err(to_io)?
        .is_some()
    {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "it runs already",
        ));
    }
    clean(spec).await?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(spec.run_dir.join("agents"))?;
    let result = start(spec).await;
    if result.is_err() {
        if let Ok(Some((_, process))) = pid_file::find(&spec.run_dir, PID_FILE) {
            end(process).await?;
        }
        // The first error is the one to tell.
        let _ = clean(spec).await;
    }
    result
}

async fn start(spec: &SandboxSpec) -> io::Result<(Identity, Process)> {
    let log_file = spec.run_dir.join(LOG);
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(&log_file)?;
    let mut stage_1 = Command::new(&spec.program);
    stage_1.arg0("vial-init").env_clear().current_dir("/");
    let mut stage_1 = stage_1
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    // It waits for its specification: nothing has inherited its limits yet.
    if let Some(pid) = stage_1.id() {
        vial_sys::limits::give_first_limit_to(pid).map_err(to_io)?;
    }
    let (Some(mut stdin), Some(stdout)) = (stage_1.stdin.take(), stage_1.stdout.take()) else {
        return Err(io::Error::other("no pipes to the first process"));
    };
    stdin
        .write_all(&serde_json::to_vec(&init_spec(spec))?)
        .await?;
    drop(stdin);
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        match Report::parse(&format!("{line}\n")) {
            Report::Pid(_) => {}
            Report::Error(text) => {
                stage_1.wait().await?;
                return Err(io::Error::other(text));
            }
            Report::Ready => {
                stage_1.wait().await?;
                let found = pid_file::find(&spec.run_dir, PID_FILE).map_err(to_io)?;
                return found.ok_or_else(|| io::Error::other("the first process ended at once"));
            }
        }
    }
    stage_1.wait().await?;
    Err(io::Error::other(format!(
        "the first process died before it served; see {}",
        log_file.display()
    )))
}

/// Ends a first process and waits until it, and with it everything inside, is gone.
pub(super) async fn end(process: Process) -> io::Result<()> {
    process.kill().map_err(to_io)?;
    tokio::task::spawn_blocking(move || process.wait())
        .await?
        .map_err(to_io)
}

async fn clean(spec: &SandboxSpec) -> io::Result<()> {
    sweep::sweep(spec.name.clone(), spec.run_dir.clone())
        .await
        .map_err(|error| error.source)
}
