//! The process that carries connections into the machine: one at a time, told by a lock that it holds.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;
use vial_node::init::SOCKET;

use crate::door::LINK;

/// Held by the process, which has it as its standard input.
const LOCK: &str = "link.lock";
const LOG: &str = "link.log";

/// Starts it, unless it lives. It ends with QEMU.
pub(super) fn ensure(run_dir: &Path) -> io::Result<()> {
    let lock = File::create(run_dir.join(LOCK))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(run_dir.join(LOG))?;
    let path = |name: &str| run_dir.join(name);
    Command::new("/proc/self/exe")
        .arg0("vial-link")
        .arg("--line")
        .arg(path("link.sock"))
        .arg("--agent")
        .arg(path(SOCKET))
        .arg("--dial")
        .arg(path(LINK))
        .arg("--once")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(lock))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map(drop)
}

/// Waits until none lives: it has removed its sockets then. QEMU must have ended.
pub(super) fn wait(run_dir: &Path) -> io::Result<()> {
    match File::options().write(true).open(run_dir.join(LOCK)) {
        Ok(lock) => lock.lock(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
