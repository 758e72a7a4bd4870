//! The container's own entry point, beside which the server runs.
//!
//! ```text
//!  started ──► runs: signals of the container go to it ──► ends ──► the server ends with its code
//! ```
//! The server is PID 1 then, and its reaper takes every orphan of the container.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::reaper::{Child, Whom};
use crate::site::{self, Site};

/// What shells say when there is no such program, and when it cannot be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Those that are for it, beside SIGTERM and SIGINT, which end the server where there is no entry point.
const FORWARDED: [(SignalKind, Signal); 4] = [
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// A running entry point.
#[derive(Debug)]
pub(crate) struct Entry {
    child: Child,
}

impl Entry {
    /// Starts it with what this process has: environment, directory, descriptors. The error is the code to end with.
    pub(crate) fn start(site: &Arc<Site>, words: &[OsString]) -> Result<Option<Self>, i32> {
        let Some((name, arguments)) = words.split_first() else {
            return Ok(None);
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let program = match name.to_str() {
            Some(name) => site::find_program(name, &path, &here),
            None => Some(here.join(name)),
        };
        let Some(program) = program else {
            let there = here.join(name).is_file();
            let (why, code) = if there {
                ("not a program", NOT_EXECUTABLE)
            } else {
                ("no such program", NOT_FOUND)
            };
            tracing::error!("cannot start {}: {why}", name.display());
            return Err(code);
        };
        let mut command = Command::new(&program);
        command.arg0(name).args(arguments);
        match site.reaper.spawn(&mut command) {
            Ok(child) => Ok(Some(Self { child })),
            Err(error) => {
                tracing::error!("cannot start {}: {error}", program.display());
                Err(NOT_EXECUTABLE)
            }
        }
    }

    /// Passes signals on until it has ended, and returns its code.
    pub(crate) async fn attend(mut self, site: &Site) -> io::Result<i32> {
        let pid = self.child.pid;
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let ending = [
            (SignalKind::terminate(), Signal::TERM),
            (SignalKind::interrupt(), Signal::INT),
        ];
        for (kind, number) in FORWARDED.into_iter().chain(ending) {
            let (mut signals, tell) = (signal(kind)?, tell.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() && tell.send(number).is_ok() {}
            });
        }
        loop {
            tokio::select! {
                ended = &mut self.child.end => return Ok(ended.map_or(1, crate::reaper::Ended::code)),
                Some(number) = told.recv() => site.reaper.signal(pid, number, Whom::Process),
            }
        }
    }
}

/// Resolves when the server itself is asked to end.
pub(crate) async fn asked_to_end() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
