//! The role `vial-hold`: writes down who it is, then becomes QEMU.
//!
//! ```text
//! maker ─ spec, JSON on stdin ─► parent: ends as soon as the child is on its way
//!                                  └ child: session, pid file, cgroup (root) ─ exec ─► QEMU
//!        ◄─ stdout: `error TEXT`, or its end ───────────────────────────────────┘
//! ```
//! A process keeps its pid and start time over execve(2), so what it wrote is true of QEMU. It is nobody's child: a keeper
//! that goes takes nothing along.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};
use vial_node::init::InitSpec;
use vial_sys::identity::Identity;
use vial_sys::process::{self, Fork};
use vial_sys::{During as _, SysError};

use crate::pid_file;

/// What it shall become.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hold {
    /// The sandbox: names the control group.
    pub(super) name: String,
    /// Where it writes who it is.
    pub(super) pid_file: PathBuf,
    /// Where its output goes.
    pub(super) log: PathBuf,
    /// The program and its arguments.
    pub(super) words: Vec<OsString>,
    /// Its environment.
    pub(super) env: BTreeMap<String, PathBuf>,
}

/// Runs the role. Returns in the parent, and in a child that could not become QEMU.
#[must_use]
pub fn main() -> ExitCode {
    let Ok(Ok(mut tell)) =
        process::close_inherited(3).map(|()| process::move_above(io::stdout(), 9).map(File::from))
    else {
        return ExitCode::FAILURE;
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody else is to be told.
            let _ = writeln!(tell, "error {}", error.line().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), SysError> {
    let operation = || "read the spec".to_owned();
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).during(operation)?;
    let hold: Hold = serde_json::from_str(&text)
        .map_err(io::Error::from)
        .during(operation)?;
    match process::fork()? {
        Fork::Parent(_) => Ok(()),
        Fork::Child => become_qemu(&hold),
    }
}

fn become_qemu(hold: &Hold) -> Result<(), SysError> {
    process::new_session()?;
    pid_file::write(&hold.pid_file, &Identity::of(std::process::id())?)?;
    // Only root has a place for it.
    let joined = InitSpec::group(&hold.name).and_then(|group| {
        group.create()?;
        group.join()
    });
    if rustix::process::geteuid().is_root() {
        joined?;
    }
    let null = File::open("/dev/null").during(|| "open /dev/null".to_owned())?;
    process::place(&null, 0)?;
    let log = File::options().create(true).append(true).open(&hold.log);
    let log = log.during(|| format!("open {}", hold.log.display()))?;
    process::place(&log, 1)?;
    process::place(&log, 2)?;
    let (program, arguments) = hold
        .words
        .split_first()
        .ok_or_else(|| SysError::other("start QEMU", "no program"))?;
    let mut qemu = Command::new(program);
    qemu.args(arguments)
        .env_clear()
        .envs(&hold.env)
        .current_dir("/");
    Err(qemu.exec()).during(|| format!("execute {}", program.display()))
}
