//! What a process on its way to become a PID 1 tells the one who started it: lines on a pipe.
//!
//! `pid N`, then `ready` or `error TEXT`. The pipe's end without `ready` means that it died. An agent, which knows
//! nothing of this, says that it is ready with a single byte.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use vial_sys::{SysError, process};

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// Which pid the new process has, as seen by the one who is told.
    Pid(i32),
    /// It serves.
    Ready,
    /// It gave up, because.
    Error(String),
}

impl Report {
    /// Understands one line, or the single byte of an agent.
    pub fn parse(line: &str) -> Self {
        let text = line.trim_end();
        if let Some(pid) = text.strip_prefix("pid ").and_then(|pid| pid.parse().ok()) {
            Self::Pid(pid)
        } else if text == "ready" || line.len() == 1 {
            Self::Ready
        } else {
            Self::Error(text.strip_prefix("error ").unwrap_or(text).to_owned())
        }
    }
}

/// The telling end.
pub(crate) struct Reporter {
    pipe: File,
}

impl Reporter {
    /// Tells on what is stdout now; out of the way of the few descriptors that are placed for a next program.
    pub(crate) fn on_stdout() -> Result<Self, SysError> {
        Ok(Self {
            pipe: File::from(process::move_above(std::io::stdout(), 9)?),
        })
    }

    /// Tells; nobody who listens any more is fine.
    pub(crate) fn tell(&mut self, report: &Report) {
        let line = match report {
            Report::Pid(pid) => format!("pid {pid}\n"),
            Report::Ready => "ready\n".to_owned(),
            Report::Error(text) => format!("error {}\n", text.replace('\n', " ")),
        };
        let _ = self.pipe.write_all(line.as_bytes());
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_an_agents_byte_are_understood() {
        assert_eq!(Report::parse("pid 42\n"), Report::Pid(42));
        assert_eq!(Report::parse("ready\n"), Report::Ready);
        assert_eq!(
            Report::parse("error mount x: no\n"),
            Report::Error("mount x: no".into())
        );
        for byte in ["1", "\n", "\0"] {
            assert_eq!(Report::parse(byte), Report::Ready);
        }
    }
}
