//! From the client to the command: stdin, its end, the terminal's size, signals.
//!
//! A writer of its own takes the data, so that a signal or a new size reaches a command that does not read. Only a few
//! messages wait for the writer; then the client has to, by the flow control of HTTP/2.

use std::sync::Arc;

use rustix::process::Signal;
use tokio::sync::mpsc;
use tonic::Streaming;
use vial_rpc::ExecInput;
use vial_rpc::exec_input::Input;
use vial_sys::pty;

use super::descriptor::Writer;
use super::size;
use crate::reaper::{Reaper, Whom};

/// Messages of stdin that wait for a command that does not read.
const QUEUE: usize = 16;

/// Serves the client's messages until it says no more, or is gone.
pub(super) async fn feed(
    mut inputs: Streaming<ExecInput>,
    stdin: Writer,
    tty: bool,
    reaper: Arc<Reaper>,
    pid: i32,
) {
    let (data, queue) = mpsc::channel(QUEUE);
    // The writer owns a pipe alone: dropping it is the end of the command's stdin. A terminal is needed by both.
    let stdin = Arc::new(stdin);
    let terminal = tty.then(|| stdin.clone());
    let forward = async move {
        let mut data = Some(data);
        while let Ok(Some(input)) = inputs.message().await {
            match input.input {
                Some(Input::Stdin(bytes)) => {
                    if let Some(data) = &data {
                        // The command may have closed its stdin; what comes then is for nobody.
                        let _ = data.send(bytes).await;
                    }
                }
                Some(Input::StdinEof(true)) => data = None,
                Some(Input::Resize(wanted)) => {
                    if let Some(terminal) = &terminal {
                        let (columns, rows) = size(Some(&wanted));
                        // The command may have ended.
                        let _ = pty::resize(terminal, columns, rows);
                    }
                }
                Some(Input::Signal(number)) => signal(number, terminal.as_deref(), &reaper, pid),
                Some(Input::Start(_) | Input::StdinEof(false)) | None => {}
            }
        }
    };
    tokio::join!(forward, write(queue, stdin, tty));
}

fn signal(number: i32, terminal: Option<&Writer>, reaper: &Reaper, pid: i32) {
    let Some(signal) = Signal::from_named_raw(number) else {
        return;
    };
    let reached = terminal.is_some_and(|terminal| pty::signal_foreground(terminal, signal).is_ok());
    if !reached {
        reaper.signal(pid, signal, Whom::Group);
    }
}

/// Writes what comes and then ends the command's stdin.
async fn write(mut queue: mpsc::Receiver<Vec<u8>>, stdin: Arc<Writer>, tty: bool) {
    let mut line_is_open = false;
    while let Some(bytes) = queue.recv().await {
        if stdin.write_all(&bytes).await.is_err() {
            return;
        }
        line_is_open = bytes.last().map_or(line_is_open, |last| *last != b'\n');
    }
    if tty {
        // The first end-of-file after an unfinished line only hands that line over (termios(3), VEOF). A raw terminal has
        // no end-of-file; it ends when the controlling side is closed.
        if let Ok(Some(end)) = pty::end_of_file(&stdin) {
            let ends = [end, end];
            let _ = stdin.write_all(&ends[..=usize::from(line_is_open)]).await;
        }
    }
}
