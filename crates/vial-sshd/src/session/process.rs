//! A command's process: started as its account, connected to its channel, waited for.
//!
//! Everything is at the pace of whoever takes it: output is read only when the client's window has room, input waits in
//! its queue until the command reads ([`crate::inbound`]).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use rustix::fs::Mode;
use vial_sys::session::{Terminal as Controlling, prepare};

use super::command::Invocation;
use super::{directory, signals};
use crate::descriptor::{Reader, Writer};
use crate::environment::Environment;
use crate::expiry::Warnings;
use crate::inbound::{Closed, Inbound, Input};
use crate::reaper::{Child, Ended};
use crate::site::Site;
use crate::terminal::Terminal;
use crate::users::Account;

/// What shells say when there is no such program.
const NOT_FOUND: i32 = 127;
/// Standard error (RFC 4254, 5.2).
const STDERR: u32 = 1;
/// What a pipe may hold, in bytes: fewer wakeups of both sides than with the usual 64 KiB.
const PIPE: usize = 256 * 1024;

/// How long a command may take to read what was sent to it, when its client is gone.
const REST: Duration = Duration::from_secs(30);

/// Our ends of a command's stdin and outputs.
pub(super) struct Ends {
    stdin: Writer,
    stdout: Reader,
    /// With a terminal there is only one output.
    stderr: Option<Reader>,
}

/// Why a command does not run, as the person reads it.
pub(super) type Refusal = String;

/// Starts a command. Beside our ends, the controlling side of its terminal is returned.
pub(super) fn start(
    site: &Arc<Site>,
    account: &Account,
    invocation: Option<Invocation>,
    terminal: Option<Terminal>,
    mut environment: Environment,
) -> Result<(Child, Ends, Option<OwnedFd>), Refusal> {
    let invocation = invocation.ok_or("this image has no shell, and there is no busybox")?;
    let (ends, controller, stdio) = match terminal {
        Some(terminal) => with_terminal(&terminal, account, &mut environment),
        None => with_pipes(),
    }
    .map_err(|error| format!("cannot connect the command: {error}"))?;
    let mut command = Command::new(&invocation.program);
    command
        .arg0(&invocation.name)
        .args(&invocation.arguments)
        .current_dir(directory(account))
        .env_clear()
        .envs(&environment);
    let [stdin, stdout, stderr] = stdio;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let controlling = match &controller {
        Some(_) => Controlling::Stdin,
        None => Controlling::None,
    };
    prepare(&mut command, controlling, account.credentials());
    let child = site
        .reaper
        .spawn(&mut command)
        .map_err(|error| format!("{}: {error}", invocation.program.display()))?;
    Ok((child, ends, controller))
}

type Connected = (Ends, Option<OwnedFd>, [OwnedFd; 3]);

fn with_terminal(
    terminal: &Terminal,
    account: &Account,
    environment: &mut Environment,
) -> io::Result<Connected> {
    let pty = terminal.open()?;
    if let Ok(name) = rustix::termios::ttyname(&pty.terminal, Vec::new())
        && let Ok(name) = name.into_string()
    {
        environment.insert("SSH_TTY".into(), name.into());
    }
    if account.credentials().is_some() {
        // Programs like tmux and sudo open their terminal anew.
        fchown(&pty.terminal, Some(account.uid), None)?;
        rustix::fs::fchmod(&pty.terminal, Mode::from_raw_mode(0o620))?;
    }
    let ends = Ends {
        stdin: Writer::new(pty.controller.try_clone()?)?,
        stdout: Reader::new(pty.controller.try_clone()?)?,
        stderr: None,
    };
    let other = || pty.terminal.try_clone();
    let stdio = [other()?, other()?, other()?];
    Ok((ends, Some(pty.controller), stdio))
}

fn with_pipes() -> io::Result<Connected> {
    let pipe = || {
        let (reader, writer) = io::pipe()?;
        // Only a wish: an unprivileged user has a limit for all its pipes.
        let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIPE);
        Ok::<_, io::Error>((OwnedFd::from(reader), OwnedFd::from(writer)))
    };
    let (stdin, our_stdin) = pipe()?;
    let (our_stdout, stdout) = pipe()?;
    let (our_stderr, stderr) = pipe()?;
    let ends = Ends {
        stdin: Writer::new(our_stdin)?,
        stdout: Reader::new(our_stdout)?,
        stderr: Some(Reader::new(our_stderr)?),
    };
    Ok((ends, None, [stdin, stdout, stderr]))
}

/// Carries bytes until the outputs and the command have ended, then tells the client how. When the channel is closed
/// before, a terminal is hung up, and a command without one gets what was sent to it.
pub(super) async fn serve(
    child: Child,
    ends: Ends,
    (inbound, mut closed): (Inbound, Closed),
    write: ChannelWriteHalf<Msg>,
    handle: Handle,
    warnings: Option<Warnings>,
) {
    let terminal = ends.stderr.is_none();
    let outputs = async {
        let errors = async {
            if let Some(stderr) = ends.stderr {
                carry(stderr, &write, Some(STDERR)).await;
            }
        };
        tokio::join!(carry(ends.stdout, &write, None), errors);
        child.end.await
    };
    let mut feeding = tokio::spawn(feed(inbound, ends.stdin, terminal));
    tokio::select! {
        ended = outputs => {
            feeding.abort();
            tell(&write, &handle, ended.ok()).await;
        }
        () = closed.wait() => {
            // One that never reads keeps nothing but its own pipe.
            if terminal || tokio::time::timeout(REST, &mut feeding).await.is_err() {
                feeding.abort();
            }
        }
        () = warn(warnings, &write) => {}
    }
}

/// Tells the person, beside what the command says, when there is something to be told; for ever.
async fn warn(warnings: Option<Warnings>, write: &ChannelWriteHalf<Msg>) {
    if let Some(mut warnings) = warnings {
        while let Some(line) = warnings.next().await {
            // It fails when the client is gone.
            let _ = write.extended_data_bytes(STDERR, line.into_bytes()).await;
        }
    }
    std::future::pending().await
}

/// How a command ended; `None` when the server itself ends. What fails here fails because the client is gone.
async fn tell(write: &ChannelWriteHalf<Msg>, handle: &Handle, ended: Option<Ended>) {
    let _ = write.eof().await;
    match ended {
        Some(Ended::Killed { signal, core }) => {
            let name = signals::to_client(signal);
            let _ = handle
                .exit_signal_request(write.id(), name, core, String::new(), String::new())
                .await;
        }
        Some(Ended::Exited(code)) => {
            let _ = write.exit_status(code.cast_unsigned()).await;
        }
        None => {}
    }
    let _ = write.close().await;
}

/// One output to the client.
async fn carry(mut from: Reader, write: &ChannelWriteHalf<Msg>, kind: Option<u32>) {
    while let Ok(Some(bytes)) = from.read().await {
        let sent = match kind {
            None => write.data_bytes(bytes).await,
            Some(kind) => write.extended_data_bytes(kind, bytes).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The client's input to the command, until either side ends it.
async fn feed(mut inbound: Inbound, stdin: Writer, terminal: bool) {
    while let Some(input) = inbound.take().await {
        let written = match input {
            Input::Data(data) => stdin.write_all(&data).await,
            Input::End if terminal => {
                // A terminal has no end; this is how a person says it.
                match vial_sys::pty::end_of_file(&stdin) {
                    Ok(Some(character)) => stdin.write_all(&[character]).await,
                    _ => Ok(()),
                }
            }
            Input::End => return,
        };
        if written.is_err() {
            // The command does not read any more; what else is sent is dropped with the queue.
            return;
        }
    }
}

/// Tells the client why nothing runs.
pub(super) async fn refuse(
    refusal: Refusal,
    mut closed: Closed,
    write: ChannelWriteHalf<Msg>,
    handle: Handle,
) {
    let text = format!("vial-sshd: {refusal}\r\n");
    tokio::select! {
        _ = write.extended_data_bytes(STDERR, text.into_bytes()) => {}
        () = closed.wait() => return,
    }
    tell(&write, &handle, Some(Ended::Exited(NOT_FOUND))).await;
}
