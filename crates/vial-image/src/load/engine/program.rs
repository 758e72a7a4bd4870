//! A program of an engine, and what it writes.

use std::io::{self, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use super::Refusal;
use crate::load::meter::{Meter, Waiting};

/// What is said of a program that is not there.
pub(super) const NOT_INSTALLED: &str = "not installed";
/// How much of what it complains about is kept: the end of it.
const COMPLAINTS: usize = 16 << 10;

/// A running program; ended when it is dropped.
pub(super) struct Program<'a> {
    child: Child,
    stdout: Waiting<'a, ChildStdout>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// It has closed its output.
    done: bool,
}

impl<'a> Program<'a> {
    pub(super) fn start(command: &mut Command, meter: &'a Meter) -> Result<Self, Refusal> {
        let mut child = spawn(command)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(mut stderr)) = (stdout, stderr) else {
            unreachable!("both are piped");
        };
        let stderr = std::thread::spawn(move || {
            let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                kept.extend_from_slice(&buffer[..n]);
                let surplus = kept.len().saturating_sub(COMPLAINTS);
                kept.drain(..surplus);
            }
            kept
        });
        Ok(Self {
            child,
            stdout: meter.waiting(stdout),
            stderr: Some(stderr),
            done: false,
        })
    }

    /// Runs a program to its end: what it wrote, or why it failed.
    pub(super) fn output(command: &mut Command) -> Result<String, Refusal> {
        let output = spawn(command)?
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(complaint(&output.stderr).unwrap_or_else(|| output.status.to_string()))
    }

    /// Waits for a program that has written all it had to; ends one that was not heard to the end.
    pub(super) fn end(mut self) -> Result<(), Refusal> {
        if !self.done {
            return Ok(());
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        let said = self.stderr.take().map(JoinHandle::join);
        if status.success() {
            return Ok(());
        }
        let said = said.and_then(Result::ok).unwrap_or_default();
        Err(complaint(&said).unwrap_or_else(|| status.to_string()))
    }
}

impl Read for Program<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.stdout.read(buffer)?;
        self.done = n == 0;
        Ok(n)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // Fine when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child, Refusal> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NOT_INSTALLED.to_owned(),
        _ => error.to_string(),
    })
}

/// The last line is the reason; warnings stand before it.
fn complaint(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().map(str::trim);
    lines.rfind(|line| !line.is_empty()).map(str::to_owned)
}
