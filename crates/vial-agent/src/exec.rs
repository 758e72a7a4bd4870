//! Commands that clients run in the node, with a terminal or with pipes.
//!
//! # Life of a command
//! ```text
//!  start ──► user, program, directory looked up ──► spawned in a session of its own
//!    input:   stdin, resize, signal ──► terminal or pipe          (ends with the command)
//!    output:  terminal or pipes ──► client, at the client's pace  (see `output`)
//!  exits ──► what it wrote is delivered ──► exit code, the last message
//!  client gone ──► SIGHUP to the session ──► grace ──► SIGKILL    (nothing of it is left)
//! ```
//! After a good end, what the command put into the background goes on, as with any shell. A command that cannot start
//! ends like in a shell: 127 when there is no such program, 126 when it cannot be executed, with a line on stderr.

mod descriptor;
mod input;
mod output;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use vial_rpc::exec_output::Output;
use vial_rpc::{ExecInput, ExecOutput, ExecStart, TerminalSize};
use vial_sys::session::{Credentials, Terminal, prepare};

use crate::launch::{agent_environment, agent_path, find_program};
use crate::reaper::{Child, Leftovers, Reaper, Whom};
use crate::user::{self, User};
use descriptor::{Reader, Writer};

/// Between SIGHUP and SIGKILL for a command whose client is gone.
const HANGUP_GRACE: Duration = Duration::from_secs(2);
/// Rounds of SIGKILL before a session counts as unkillable (a process that hangs in the kernel).
const KILLS: usize = 400;
/// Messages of at most 64 KiB that wait for a slow client.
const QUEUE: usize = 8;
/// What shells say when there is no such program, and when it cannot be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// What a client reads.
pub(crate) type Outputs = mpsc::Receiver<Result<ExecOutput, Status>>;

/// Why a command was refused before anything was tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error("cannot execute a command without a name")]
    NoCommand,
    #[error("no user {name} in /etc/passwd")]
    NoUser { name: String },
    #[error("cannot work in {}: not a directory", path.display())]
    NoDirectory { path: PathBuf },
    #[error("cannot open a terminal")]
    Terminal { source: io::Error },
    #[error("cannot make a pipe")]
    Pipe { source: io::Error },
}

/// Our ends of a command's stdin and outputs.
struct Ends {
    stdin: Writer,
    stdout: Reader,
    /// With a terminal there is only one output.
    stderr: Option<Reader>,
}

/// Starts a command; the returned queue ends with its exit code.
pub(crate) fn start(
    reaper: &Arc<Reaper>,
    start: &ExecStart,
    inputs: Streaming<ExecInput>,
) -> Result<Outputs, ExecError> {
    let name = start
        .argv
        .first()
        .filter(|name| !name.is_empty())
        .ok_or(ExecError::NoCommand)?;
    let user = user::find(&start.user).ok_or_else(|| ExecError::NoUser {
        name: start.user.clone(),
    })?;
    let cwd = working_directory(&start.cwd)?;
    let environment = environment(start, &user);
    let path = environment.get("PATH").map_or("", String::as_str);
    let (outputs, queue) = mpsc::channel(QUEUE);
    let Some(program) = find_program(name, path, &cwd) else {
        let (why, code) = if name.contains('/') && cwd.join(name).exists() {
            ("it is not a program".to_owned(), NOT_EXECUTABLE)
        } else if name.contains('/') {
            ("no such program".to_owned(), NOT_FOUND)
        } else {
            (format!("no such program in {path}"), NOT_FOUND)
        };
        refuse(outputs, format!("{name}: {why}\n"), code);
        return Ok(queue);
    };
    let mut command = Command::new(program);
    command
        .arg0(name)
        .args(&start.argv[1..])
        .current_dir(&cwd)
        .env_clear()
        .envs(&environment);
    let ends = connect(&mut command, start, user.credentials())?;
    match reaper.spawn(&mut command, Leftovers::Leave) {
        Ok(child) => {
            // Closes our copies of the command's ends, else its outputs would never end.
            drop(command);
            tokio::spawn(run(reaper.clone(), child, ends, inputs, outputs));
        }
        Err(error) => refuse(outputs, format!("{name}: {error}\n"), NOT_EXECUTABLE),
    }
    Ok(queue)
}

/// Serves one command from its start to its end.
async fn run(
    reaper: Arc<Reaper>,
    child: Child,
    ends: Ends,
    inputs: Streaming<ExecInput>,
    outputs: mpsc::Sender<Result<ExecOutput, Status>>,
) {
    let pid = child.pid;
    let tty = ends.stderr.is_none();
    let input = tokio::spawn(input::feed(inputs, ends.stdin, tty, reaper.clone(), pid));
    let code = output::pump(ends.stdout, ends.stderr, child.exit, &outputs).await;
    input.abort();
    match code {
        Some(code) => drop(outputs.send(Ok(message(Output::Exit(code)))).await),
        None => hang_up(&reaper, pid).await,
    }
}

/// Ends a command and all that is in its session.
async fn hang_up(reaper: &Reaper, pid: i32) {
    tracing::debug!(pid, "client gone, hanging up");
    reaper.signal(pid, Signal::HUP, Whom::Session);
    // What is stopped would not notice.
    reaper.signal(pid, Signal::CONT, Whom::Session);
    let patience = tokio::time::Instant::now() + HANGUP_GRACE;
    while reaper.pids().contains(&pid) && tokio::time::Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Again and again: a member may have forked between the listing and its end.
    for _ in 0..KILLS {
        if Reaper::signal_session(pid, Signal::KILL) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tracing::warn!(pid, "a command whose client is gone cannot be killed");
}

/// Ends the sessions of all commands; for the agent's own end.
pub(crate) fn kill_all(reaper: &Reaper) {
    for pid in reaper.pids() {
        reaper.signal(pid, Signal::HUP, Whom::Session);
        reaper.signal(pid, Signal::KILL, Whom::Session);
    }
}

/// Gives `command` its stdin, stdout, stderr and session.
fn connect(
    command: &mut Command,
    start: &ExecStart,
    credentials: Option<Credentials>,
) -> Result<Ends, ExecError> {
    if start.tty {
        let terminal_error = |source| ExecError::Terminal { source };
        let (columns, rows) = size(start.size.as_ref());
        let pty = vial_sys::pty::open(columns, rows).map_err(terminal_error)?;
        let other = |side: &OwnedFd| side.try_clone().map_err(terminal_error);
        if let Some(user) = &credentials {
            // Programs like tmux and sudo open their terminal anew.
            fchown(&pty.terminal, Some(user.uid), None).map_err(terminal_error)?;
        }
        command
            .stdin(other(&pty.terminal)?)
            .stdout(other(&pty.terminal)?)
            .stderr(pty.terminal);
        prepare(command, Terminal::Stdin, credentials);
        let stdin = Writer::new(other(&pty.controller)?).map_err(terminal_error)?;
        return Ok(Ends {
            stdin,
            stdout: Reader::new(pty.controller).map_err(terminal_error)?,
            stderr: None,
        });
    }
    let pipe_error = |source| ExecError::Pipe { source };
    let (stdin, our_stdin) = io::pipe().map_err(pipe_error)?;
    let (our_stdout, stdout) = io::pipe().map_err(pipe_error)?;
    let (our_stderr, stderr) = io::pipe().map_err(pipe_error)?;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    prepare(command, Terminal::None, credentials);
    let stdin = Writer::new(our_stdin.into()).map_err(pipe_error)?;
    let stdout = Reader::new(our_stdout.into()).map_err(pipe_error)?;
    let stderr = Some(Reader::new(our_stderr.into()).map_err(pipe_error)?);
    Ok(Ends {
        stdin,
        stdout,
        stderr,
    })
}

/// Columns and rows, as the kernel counts them.
fn size(size: Option<&TerminalSize>) -> (u16, u16) {
    let fit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    size.map_or((80, 24), |size| (fit(size.columns), fit(size.rows)))
}

fn working_directory(wanted: &str) -> Result<PathBuf, ExecError> {
    if wanted.is_empty() {
        let home = Path::new("/root");
        return Ok(if home.is_dir() { home } else { Path::new("/") }.to_path_buf());
    }
    let path = Path::new("/").join(wanted);
    if path.is_dir() {
        Ok(path)
    } else {
        Err(ExecError::NoDirectory { path })
    }
}

/// The agent's own, then the user's, then the client's.
fn environment(start: &ExecStart, user: &User) -> BTreeMap<String, String> {
    let mut environment = agent_environment();
    environment
        .entry("PATH".to_string())
        .or_insert_with(agent_path);
    if start.tty {
        environment
            .entry("TERM".to_string())
            .or_insert_with(|| "xterm-256color".to_string());
    }
    for (key, value) in [
        ("HOME", &user.home),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
        ("SHELL", &user.shell),
    ] {
        environment.insert(key.to_string(), value.clone());
    }
    environment.extend(start.env.clone());
    environment
}

/// Ends a command that never began.
fn refuse(outputs: mpsc::Sender<Result<ExecOutput, Status>>, why: String, code: i32) {
    // The queue has room for both; a client that is gone needs neither.
    let _ = outputs.try_send(Ok(message(Output::Stderr(why.into_bytes()))));
    let _ = outputs.try_send(Ok(message(Output::Exit(code))));
}

fn message(output: Output) -> ExecOutput {
    ExecOutput {
        output: Some(output),
    }
}
