//! Commands in a node, from the client's side of `Agent.Exec`.
//!
//! [`exec_collect`] is for programs: all of stdin at once, all of the output at the end. [`exec_interactive`] is for
//! people: streams as they come, sizes of the terminal, signals.
//!
//! Dropping either future hangs the command up: the agent ends it and all it started.

use std::future::Future;
use std::io;

use futures::Stream;
use futures::stream::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use crate::agent_client::AgentClient;
use crate::exec_input::Input;
use crate::exec_output::Output as Part;
use crate::{ExecInput, ExecStart, TerminalSize};

/// The largest message: big enough to be fast, small enough to share the connection.
const CHUNK: usize = 64 * 1024;
/// Messages that wait for the agent.
const QUEUE: usize = 4;

/// Why a command gave no exit code.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The agent refused it, or went away.
    #[error("cannot execute {command}")]
    Refused {
        /// The command's name.
        command: String,
        /// What the agent said.
        #[source]
        source: Box<tonic::Status>,
    },
    /// The agent ended the stream without an exit code.
    #[error("{command} ended without an exit code")]
    NoExit {
        /// The command's name.
        command: String,
    },
    /// The caller's own stdout or stderr does not take the output.
    #[error("cannot pass on the output of {command}")]
    Output {
        /// The command's name.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// All that a command said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output {
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
    /// Its exit code: 128 + signal when it was killed, 127 when there is no such program.
    pub code: i32,
}

/// Something that changes while an interactive command runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Control {
    /// The terminal has a new size.
    Resize(TerminalSize),
    /// A signal for the command's foreground process group, by its number.
    Signal(i32),
}

/// Runs `argv` as root, with `stdin` as its whole input, and collects its output in memory.
///
/// # Errors
/// When the agent refuses or goes away. A command that fails is no error: look at [`Output::code`].
pub async fn exec_collect<I>(channel: Channel, argv: I, stdin: &[u8]) -> Result<Output, ExecError>
where
    I: IntoIterator,
    I::Item: Into<String>,
{
    let start = ExecStart {
        argv: argv.into_iter().map(Into::into).collect(),
        ..ExecStart::default()
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let no_controls = futures::stream::empty();
    let code =
        exec_interactive(channel, start, stdin, &mut stdout, &mut stderr, no_controls).await?;
    Ok(Output {
        stdout,
        stderr,
        code,
    })
}

/// Runs a command with the caller's streams until it ends; returns its exit code.
///
/// `stdin` is read until its end, which the command sees as the end of its own, or until the command ends. With
/// `start.tty` all output comes by `stdout`, and raw mode of the caller's terminal is the caller's matter.
/// A reader that blocks a thread, like tokio's own stdin, may keep the caller's runtime alive after this has returned.
///
/// # Errors
/// When the agent refuses or goes away, or the caller's stdout or stderr cannot be written.
pub async fn exec_interactive<R, W, E, C>(
    channel: Channel,
    start: ExecStart,
    stdin: R,
    stdout: W,
    stderr: E,
    controls: C,
) -> Result<i32, ExecError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
    C: Stream<Item = Control> + Unpin,
{
    let command = start.argv.first().cloned().unwrap_or_default();
    let (inputs, queue) = mpsc::channel(QUEUE);
    let _ = inputs.try_send(input(Input::Start(start)));
    let queue = futures::stream::unfold(queue, |mut queue| async {
        Some((queue.recv().await?, queue))
    });
    let feeding = feed(stdin, controls, inputs);
    let delivering = deliver(channel, queue, stdout, stderr, &command);
    run_until(delivering, feeding).await
}

/// Drives both until `first` is done; `second` may end before.
async fn run_until<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> T {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    tokio::select! {
        result = &mut first => return result,
        () = &mut second => {}
    }
    first.await
}

/// Sends stdin and controls; keeps the stream of inputs open after the end of stdin, as controls may still come.
async fn feed(
    mut stdin: impl AsyncRead + Unpin,
    controls: impl Stream<Item = Control> + Unpin,
    inputs: mpsc::Sender<ExecInput>,
) {
    let read = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            // A stdin that cannot be read is at its end.
            let length = stdin.read(&mut buffer).await.unwrap_or(0);
            let message = match length {
                0 => Input::StdinEof(true),
                length => Input::Stdin(buffer[..length].to_vec()),
            };
            if inputs.send(input(message)).await.is_err() || length == 0 {
                return;
            }
        }
    };
    let control = async {
        let mut controls = controls;
        while let Some(control) = controls.next().await {
            let message = match control {
                Control::Resize(size) => Input::Resize(size),
                Control::Signal(number) => Input::Signal(number),
            };
            if inputs.send(input(message)).await.is_err() {
                return;
            }
        }
    };
    futures::future::join(read, control).await;
    // Its end is the command's end, which the other side of `run_until` sees.
    inputs.closed().await;
}

async fn deliver(
    channel: Channel,
    inputs: impl Stream<Item = ExecInput> + Send + 'static,
    mut stdout: impl AsyncWrite + Unpin,
    mut stderr: impl AsyncWrite + Unpin,
    command: &str,
) -> Result<i32, ExecError> {
    let refused = |status| ExecError::Refused {
        command: command.to_string(),
        source: Box::new(status),
    };
    let mut outputs = AgentClient::new(channel)
        .exec(inputs)
        .await
        .map_err(refused)?
        .into_inner();
    let mut code = None;
    while let Some(message) = outputs.message().await.map_err(refused)? {
        let written = match message.output {
            Some(Part::Stdout(bytes)) => pass_on(&mut stdout, &bytes).await,
            Some(Part::Stderr(bytes)) => pass_on(&mut stderr, &bytes).await,
            Some(Part::Exit(number)) => {
                code = Some(number);
                break;
            }
            None => Ok(()),
        };
        written.map_err(|source| ExecError::Output {
            command: command.to_string(),
            source,
        })?;
    }
    code.ok_or_else(|| ExecError::NoExit {
        command: command.to_string(),
    })
}

async fn pass_on(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

fn input(input: Input) -> ExecInput {
    ExecInput { input: Some(input) }
}
