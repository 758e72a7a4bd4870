//! Starting the machine, until its first process answers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use vial_node::init::SOCKET;
use vial_qemu::console::last_words;
use vial_qemu::start::resolve;
use vial_sys::error_chain;
use vial_sys::identity::{Identity, Process};

use super::arguments::arguments;
use super::hold::Hold;
use super::{CONSOLE, LOG, PID_FILE, link, sweep};
use crate::ended::ended;
use crate::errors::to_io;
use crate::{SandboxSpec, pid_file};

/// How long a guest may be silent before it is started anew: on a busy host one of some thirty starts under software
/// emulation ended in a processor that waited for a timer for ever (seen with QEMU 10.0.13).
const SILENT: Duration = Duration::from_secs(90);
/// How often it is started.
const TRIES: usize = 3;
/// How often is looked whether the link serves: it does when the guest's first process has answered.
const LOOK: Duration = Duration::from_millis(10);

/// Starts it and returns when its first process serves; on failure nothing is left.
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
    let mut tries = 1;
    loop {
        clean(spec).await?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&spec.run_dir)?;
        let error = match attempt(spec).await {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        let said = said(&spec.run_dir);
        if let Ok(Some((_, process))) = pid_file::find(&spec.run_dir, PID_FILE) {
            end(&process).await?;
        }
        // The first error is the one to tell.
        let _ = clean(spec).await;
        if error.kind() != io::ErrorKind::TimedOut || tries == TRIES {
            return Err(match said.as_str() {
                "" => error,
                said => io::Error::new(error.kind(), format!("{error}; it said last:\n{said}")),
            });
        }
        tries += 1;
        tracing::warn!(%error, "the machine is started anew");
    }
}

async fn attempt(spec: &SandboxSpec) -> io::Result<(Identity, Process)> {
    start(spec).await?;
    let found = pid_file::find(&spec.run_dir, PID_FILE).map_err(to_io)?;
    let Some((identity, process)) = found else {
        return Err(io::Error::other("QEMU ended at once"));
    };
    link::ensure(&spec.run_dir)?;
    let serves = async {
        while !spec.run_dir.join(SOCKET).exists() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = serves => Ok((identity, process)),
        ended = ended(&process) => {
            ended?;
            Err(io::Error::other("the machine ended before it served"))
        }
        () = tokio::time::sleep(SILENT) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the machine was silent for {} s", SILENT.as_secs()),
        )),
    }
}

/// Starts QEMU by way of the role that writes down who it is.
async fn start(spec: &SandboxSpec) -> io::Result<()> {
    let machine = spec.machine.as_ref();
    let machine = machine.ok_or_else(|| io::Error::other("the sandbox is to be no machine"))?;
    let own = machine.qemu.words().iter().cloned();
    let planned = arguments(spec, machine);
    let words = resolve(planned, &machine.files, machine.frozen.as_deref());
    let words = words.map_err(|error| io::Error::other(error_chain(&error)))?;
    let words = own.chain(words.into_iter().map(OsString::from));
    let hold = Hold {
        name: spec.name.clone(),
        pid_file: spec.run_dir.join(PID_FILE),
        log: spec.run_dir.join(LOG),
        words: words.collect(),
        env: BTreeMap::from([machine.qemu.environment()]),
    };
    let mut holding = Command::new("/proc/self/exe");
    holding
        .arg0("vial-hold")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut holding = holding.spawn()?;
    let (Some(mut stdin), Some(mut stdout)) = (holding.stdin.take(), holding.stdout.take()) else {
        return Err(io::Error::other("no pipes"));
    };
    stdin.write_all(&serde_json::to_vec(&hold)?).await?;
    drop(stdin);
    let mut told = String::new();
    stdout.read_to_string(&mut told).await?;
    holding.wait().await?;
    match told.trim().strip_prefix("error ") {
        Some(why) => Err(io::Error::other(why.to_owned())),
        None => Ok(()),
    }
}

/// Ends QEMU and waits until it is gone.
pub(super) async fn end(process: &Process) -> io::Result<()> {
    process.kill().map_err(to_io)?;
    ended(process).await
}

async fn clean(spec: &SandboxSpec) -> io::Result<()> {
    sweep::sweep(spec.name.clone(), spec.run_dir.clone())
        .await
        .map_err(|error| error.source)
}

/// What QEMU itself said last, or when it said nothing the console.
fn said(run_dir: &Path) -> String {
    let logs = [LOG, CONSOLE].map(|log| last_words(&run_dir.join(log)));
    logs.into_iter()
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}
