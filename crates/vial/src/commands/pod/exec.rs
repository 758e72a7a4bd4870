//! `vial pod exec NAME -- COMMAND`: through the API, for those without ssh.

use std::io::IsTerminal as _;

use clap::Args;
use futures::SinkExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, AttachedProcess, TerminalSize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use vial_cloud::words;

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::pods::choice;
use crate::pods::place::PlaceArgs;
use crate::terminal::{self, Raw};

/// Of each stream.
const BUFFER: usize = 64 * 1024;

/// Run a command in a pod, through the API
///
/// As root, as the container's own processes are; its exit code is vial's. Without -i it reads nothing. With -t, or with
/// -i when both ends are terminals, it gets a terminal. `ssh NAME COMMAND` runs it as the pod's user.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial pod exec dp-test01 -- ip address
  vial pod exec dp-test01 -it -- bash
  tar c . | vial pod exec dp-test01 -i -- tar x -C /tmp")]
pub(super) struct ExecArgs {
    /// The pod
    #[arg(value_name = "NAME")]
    name: String,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    #[command(flatten)]
    place: PlaceArgs,
    /// What to run
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
}

pub(super) async fn run(context: &Context, args: ExecArgs) -> Result {
    if args.tty && !std::io::stdin().is_terminal() {
        let error = Error::new(
            Code::BadInput,
            "-t needs a terminal, standard input is none",
        );
        return Err(error.hint("leave -t out"));
    }
    let place = args.place.find(context).await?;
    let view = choice::one(&place, &args.name).await?;
    let pod = super::pod_of(&view)?;
    let pods: Api<Pod> = Api::namespaced(place.cloud.client().clone(), &place.namespace);
    let tty = args.tty || (args.interactive && terminal::both_ends());
    let params = AttachParams {
        container: Some(words::CONTAINER.into()),
        stdin: args.interactive || tty,
        stdout: true,
        stderr: !tty,
        tty,
        max_stdin_buf_size: Some(BUFFER),
        max_stdout_buf_size: Some(BUFFER),
        max_stderr_buf_size: Some(BUFFER),
    };
    let what = || format!("cannot run `{}` in pod {}", args.command[0], args.name);
    let mut process = pods
        .exec(&pod, &args.command, &params)
        .await
        .map_err(|error| super::api(what(), error))?;
    let raw = match tty {
        true => Some(
            Raw::enter()
                .map_err(|error| Error::caused("cannot switch the terminal to raw mode", error))?,
        ),
        false => None,
    };
    let status = process.take_status();
    pass_input(&mut process);
    let outputs = pass_outputs(context, &mut process);
    outputs.await?;
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    drop(raw);
    let Some(status) = status else {
        return Err(
            Error::new(Code::Failed, what()).hint("the connection ended before the command did")
        );
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(Exit::OK);
    }
    let causes = status
        .details
        .and_then(|details| details.causes)
        .unwrap_or_default();
    let code = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse::<u8>().ok());
    match code {
        Some(code) => Ok(Exit(code)),
        None => Err(Error::new(
            Code::Failed,
            format!("{}: {}", what(), status.message.unwrap_or_default()),
        )),
    }
}

/// Standard input, and the terminal's size as it changes.
fn pass_input(process: &mut AttachedProcess) {
    if let Some(mut sink) = process.stdin() {
        // A thread of its own: a read of a terminal cannot be taken back.
        let (sender, mut chunks) = tokio::sync::mpsc::channel::<Vec<u8>>(4);
        std::thread::spawn(move || {
            use std::io::Read as _;
            let mut buffer = vec![0; BUFFER];
            while let Ok(length) = std::io::stdin().read(&mut buffer) {
                if length == 0 || sender.blocking_send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(chunk) = chunks.recv().await {
                if sink.write_all(&chunk).await.is_err() {
                    return;
                }
                let _ = sink.flush().await;
            }
            let _ = sink.shutdown().await;
        });
    }
    if let Some(mut sizes) = process.terminal_size() {
        tokio::spawn(async move {
            let Ok(mut changes) = signal(SignalKind::window_change()) else {
                return;
            };
            loop {
                if let Some(size) = terminal::size() {
                    let size = TerminalSize {
                        width: u16::try_from(size.columns).unwrap_or(u16::MAX),
                        height: u16::try_from(size.rows).unwrap_or(u16::MAX),
                    };
                    if sizes.send(size).await.is_err() {
                        return;
                    }
                }
                changes.recv().await;
            }
        });
    }
}

/// Both outputs, to their ends.
async fn pass_outputs(context: &Context, process: &mut AttachedProcess) -> Result<()> {
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let out = async {
        let Some(mut stream) = stdout else {
            return Ok(());
        };
        let mut buffer = vec![0; BUFFER];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(length) => context.ui.data(&buffer[..length])?,
            }
        }
    };
    let err = async {
        let Some(mut stream) = stderr else {
            return Ok(());
        };
        let mut buffer = vec![0; BUFFER];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return Ok(()),
                Ok(length) => context.ui.raw_error(&buffer[..length]),
            }
        }
    };
    let (out, err): (Result<()>, Result<()>) = tokio::join!(out, err);
    out.and(err)
}
