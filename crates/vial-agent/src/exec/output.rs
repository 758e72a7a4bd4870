//! From the command to the client: all of its output, then its end.
//!
//! The command's end and the end of its output are two things: a background child may hold the pipe open for hours.
//! After the command has ended, what it had written is still in the pipe, and the kernel tells how much that is: so much
//! is always delivered, however slow the client. After that the outputs may go on for as long as something keeps coming
//! without a pause ([`SILENCE`]), at most [`LONGEST`]: for the last words of `command > >(tee log)`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::future::join;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;
use vial_rpc::ExecOutput;
use vial_rpc::exec_output::Output;

use super::descriptor::Reader;
use super::message;

/// The largest message; also the size of a pipe (pipe(7)).
const CHUNK: usize = 64 * 1024;
/// An output that is silent for that long after the command's end is taken for ended.
const SILENCE: Duration = Duration::from_millis(100);
/// The longest time that others may go on writing after the command's end.
const LONGEST: Duration = Duration::from_secs(1);

type Sender = mpsc::Sender<Result<ExecOutput, Status>>;

/// How far one output has come; one task alone touches it, so the order of memory is no matter.
#[derive(Default)]
struct Progress {
    read: AtomicU64,
    /// Read but not yet taken by the client.
    sending: AtomicBool,
    ended: AtomicBool,
    /// To be read before the output may be given up.
    owed: AtomicU64,
    /// No more is to be read.
    enough: AtomicBool,
}

impl Progress {
    fn is_open(&self) -> bool {
        !self.ended.load(Relaxed)
            && (self.sending.load(Relaxed) || self.read.load(Relaxed) < self.owed.load(Relaxed))
    }
}

/// Delivers both outputs; returns the exit code, `None` when the client is gone.
pub(super) async fn pump(
    stdout: Reader,
    stderr: Option<Reader>,
    exit: oneshot::Receiver<i32>,
    outputs: &Sender,
) -> Option<i32> {
    let (of_stdout, of_stderr) = (Progress::default(), Progress::default());
    let copy_stderr = async {
        match &stderr {
            Some(stderr) => copy(stderr, outputs, Output::Stderr, &of_stderr).await,
            None => of_stderr.ended.store(true, Relaxed),
        }
    };
    let mut copying = std::pin::pin!(join(
        copy(&stdout, outputs, Output::Stdout, &of_stdout),
        copy_stderr
    ));
    let mut exit = std::pin::pin!(exit);
    let mut copied = false;
    let code = loop {
        tokio::select! {
            _ = &mut copying, if !copied => copied = true,
            // The agent reaps every child, so there is a code unless the agent itself ends.
            code = &mut exit => break code.ok()?,
            () = outputs.closed() => return None,
        }
    };
    of_stdout
        .owed
        .store(of_stdout.read.load(Relaxed) + stdout.pending(), Relaxed);
    of_stderr.owed.store(
        of_stderr.read.load(Relaxed) + stderr.as_ref().map_or(0, |stderr| stderr.pending()),
        Relaxed,
    );
    let over = Instant::now() + LONGEST;
    while !copied {
        let before = of_stdout.read.load(Relaxed) + of_stderr.read.load(Relaxed);
        tokio::select! {
            _ = &mut copying => copied = true,
            // The command itself has ended well; the code is for nobody, but there is nothing to hang up either.
            () = outputs.closed() => return Some(code),
            () = tokio::time::sleep(SILENCE) => {
                let silent = before == of_stdout.read.load(Relaxed) + of_stderr.read.load(Relaxed);
                let late = Instant::now() >= over;
                of_stdout.enough.store(late && of_stdout.read.load(Relaxed) >= of_stdout.owed.load(Relaxed), Relaxed);
                of_stderr.enough.store(late && of_stderr.read.load(Relaxed) >= of_stderr.owed.load(Relaxed), Relaxed);
                if (silent || late) && !of_stdout.is_open() && !of_stderr.is_open() {
                    copied = true;
                }
            }
        }
    }
    Some(code)
}

/// Copies one output until its end.
async fn copy(
    from: &Reader,
    outputs: &Sender,
    wrap: impl Fn(Vec<u8>) -> Output,
    progress: &Progress,
) {
    let mut buffer = vec![0; CHUNK];
    while !progress.enough.load(Relaxed) {
        // A pipe or terminal that cannot be read any more is as good as ended.
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            break;
        };
        progress.sending.store(true, Relaxed);
        progress.read.fetch_add(length as u64, Relaxed);
        if outputs
            .send(Ok(message(wrap(buffer[..length].to_vec()))))
            .await
            .is_err()
        {
            break;
        }
        progress.sending.store(false, Relaxed);
    }
    progress.ended.store(true, Relaxed);
}
