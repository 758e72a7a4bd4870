//! `vial exec NODE -- COMMAND`.
//!
//! ```text
//!  stdin ──┐                               ┌──► stdout
//!  SIGWINCH┼─► ExecInput … agent … ExecOutput ─► stderr
//!  SIGTERM─┘                               └──► exit code, ours as well
//! ```
//! With a terminal, Ctrl-C is a byte like any other and the node's terminal makes a signal of it. Without one, signals
//! that reach vial are passed on.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _};

use clap::Args;
use futures::StreamExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use vial_rpc::exec_input::Input;
use vial_rpc::exec_output::Output;
use vial_rpc::{ExecInput, ExecStart};

use crate::agent::{self, Container};
use crate::cli::{ClusterFlag, assignment};
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::terminal::{self, Raw};

/// Run a command on a node
///
/// Its exit code is vial's. Without -i it reads nothing. With -t, or with -i when both ends are terminals, it gets a
/// terminal.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial exec w-1 -- ip address
  vial exec w-1 -it -- bash
  vial exec cp-1 --container control-plane -- ps aux
  tar c . | vial exec w-1 -i -- tar x -C /tmp")]
pub(crate) struct ExecArgs {
    /// The node: cp-1, w-1, …
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// As which user of the node
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// In which directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// An environment variable, any number of times
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = assignment)]
    env: Vec<(String, String)>,
    /// In which of the node's process containers
    #[arg(long, value_enum, default_value = "node")]
    container: Container,
    #[command(flatten)]
    cluster: ClusterFlag,
    /// What to run
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub(crate) command: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: ExecArgs) -> Result {
    context.require_owner("run commands on a node")?;
    let (cluster, node) = (&args.cluster.cluster, &args.node);
    let status = agent::node_status(context, cluster, node).await?;
    let found = status.nodes.iter().find(|found| found.name == *node);
    let is_control_plane = found.is_some_and(|found| found.role == "control-plane");
    // In a machine both are one.
    let is_machine = found.is_some_and(|found| found.driver == "vm");
    let container = match is_machine {
        true => Container::Node,
        false => args.container,
    };
    if args.container == Container::ControlPlane && !is_control_plane {
        return Err(Error::new(
            Code::BadInput,
            format!("node `{node}` is a worker: it has no control-plane container"),
        ));
    }
    if args.tty && !std::io::stdin().is_terminal() {
        return Err(Error::new(
            Code::BadInput,
            "-t needs a terminal, standard input is none",
        )
        .hint("leave -t out"));
    }
    let tty = args.tty || (args.interactive && terminal::both_ends());
    let mut client = agent::connect(context, cluster, node, container).await?;

    let (inputs, queue) = mpsc::channel(16);
    let start = start(&args, tty);
    let first = ExecInput {
        input: Some(Input::Start(start)),
    };
    // The queue has room for it: nothing was sent before.
    let _ = inputs.send(first).await;
    let what = || format!("cannot run `{}` on {node}", args.command[0]);
    let mut outputs = client
        .exec(ReceiverStream::new(queue))
        .await
        .map_err(|status| agent::refused(what(), &status))?
        .into_inner();

    let raw = if tty {
        Some(
            Raw::enter()
                .map_err(|error| Error::caused("cannot switch the terminal to raw mode", error))?,
        )
    } else {
        None
    };
    if args.interactive || tty {
        pass_stdin(inputs.clone());
    } else {
        let _ = inputs
            .send(ExecInput {
                input: Some(Input::StdinEof(true)),
            })
            .await;
    }
    pass_signals(inputs, tty)?;

    let mut exit = None;
    let result = loop {
        match outputs.next().await {
            Some(Ok(output)) => match output.output {
                Some(Output::Stdout(bytes)) => {
                    if let Err(error) = context.ui.data(&bytes) {
                        break Err(error);
                    }
                }
                Some(Output::Stderr(bytes)) => context.ui.raw_error(&bytes),
                Some(Output::Exit(code)) => exit = Some(code),
                None => {}
            },
            Some(Err(status)) => break Err(agent::refused(what(), &status)),
            None => break Ok(()),
        }
    };
    // Before anything is printed, the terminal is as it was.
    drop(raw);
    result?;
    match exit {
        Some(code) => Ok(Exit(u8::try_from(code).unwrap_or(1))),
        None => Err(Error::new(
            Code::Failed,
            format!("node `{node}` went away while `{}` ran", args.command[0]),
        )),
    }
}

fn start(args: &ExecArgs, tty: bool) -> ExecStart {
    let mut env: BTreeMap<String, String> = args.env.iter().cloned().collect();
    if tty && let Ok(term) = std::env::var("TERM") {
        env.entry("TERM".into()).or_insert(term);
    }
    ExecStart {
        argv: args.command.clone(),
        env,
        cwd: args.workdir.clone().unwrap_or_default(),
        tty,
        size: if tty { terminal::size() } else { None },
        user: args.user.clone().unwrap_or_default(),
    }
}

/// Reads standard input on a thread of its own: a read of a terminal cannot be taken back, so nobody waits for it.
fn pass_stdin(inputs: mpsc::Sender<ExecInput>) {
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let input = match stdin.read(&mut buffer) {
                Ok(0) => Input::StdinEof(true),
                Ok(length) => Input::Stdin(buffer[..length].to_vec()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => Input::StdinEof(true),
            };
            let end = matches!(input, Input::StdinEof(_));
            if inputs
                .blocking_send(ExecInput { input: Some(input) })
                .is_err()
                || end
            {
                return;
            }
        }
    });
}

/// Passes signals and changes of the window's size on, until the command ended.
fn pass_signals(inputs: mpsc::Sender<ExecInput>, tty: bool) -> Result<()> {
    let on = |kind| signal(kind).map_err(|error| Error::caused("cannot handle signals", error));
    let mut resize = on(SignalKind::window_change())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut hangup = on(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            let input = tokio::select! {
                _ = resize.recv() => match terminal::size() {
                    Some(size) if tty => Input::Resize(size),
                    _ => continue,
                },
                _ = interrupt.recv() => Input::Signal(SignalKind::interrupt().as_raw_value()),
                _ = terminate.recv() => Input::Signal(SignalKind::terminate().as_raw_value()),
                _ = hangup.recv() => Input::Signal(SignalKind::hangup().as_raw_value()),
                () = inputs.closed() => return,
            };
            if inputs.send(ExecInput { input: Some(input) }).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> ExecArgs {
        let cli =
            Cli::try_parse_from(std::iter::once("vial").chain(line.split_whitespace())).unwrap();
        let Command::Exec(args) = cli.command else {
            panic!()
        };
        args
    }

    #[test]
    fn what_was_typed_becomes_what_the_agent_gets() {
        let args = parse("exec w-1 -u nobody -w /tmp -e A=1 -e B=x=y -- env -0");
        let start = start(&args, false);
        assert_eq!(start.argv, ["env", "-0"]);
        assert_eq!(
            (start.user.as_str(), start.cwd.as_str(), start.tty),
            ("nobody", "/tmp", false)
        );
        assert_eq!(start.env["B"], "x=y");
        assert!(start.size.is_none());
    }

    #[test]
    fn variables_have_a_name() {
        assert_eq!(assignment("A="), Ok(("A".into(), String::new())));
        assert!(assignment("=1").is_err() && assignment("A").is_err());
    }
}
