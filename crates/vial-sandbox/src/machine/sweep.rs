//! What is left when a machine has ended: sockets, the pid file, and a control group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vial_node::init::{InitSpec, SOCKET};
use vial_sys::{During as _, SysError};

use super::{CONSOLE, LOG, PID_FILE, link, outside};
use crate::door::LINK;
use crate::errors::{error, failed};
use crate::{SandboxError, pid_file};

/// Removes it; fine when there is nothing, refused while the machine lives.
pub(super) async fn sweep(name: String, run_dir: PathBuf) -> Result<(), SandboxError> {
    let sandbox = name.clone();
    let what = "cannot clean up after the sandbox";
    match tokio::task::spawn_blocking(move || remove(&name, &run_dir)).await {
        Ok(result) => result.map_err(|cause| failed(what, &sandbox, cause)),
        Err(join) => Err(error(what, &sandbox, io::Error::other(join))),
    }
}

fn remove(name: &str, run_dir: &Path) -> Result<(), SysError> {
    if !run_dir.join(PID_FILE).exists() {
        return Ok(());
    }
    if pid_file::find(run_dir, PID_FILE)?.is_some() {
        return Err(SysError::other("look for its machine", "it is alive"));
    }
    // It ends with its connection to QEMU, which it never had when QEMU ended before.
    if let Some((_, passt)) = pid_file::find(run_dir, outside::PID_FILE)? {
        passt.kill()?;
        passt.wait()?;
    }
    link::wait(run_dir).during(|| "wait for the link".to_owned())?;
    if rustix::process::geteuid().is_root() {
        let group = InitSpec::group(name)?;
        group.remove()?;
        group.remove_empty_parent();
    }
    let sockets = ["link.sock", "console.sock", "qmp.sock", LINK, SOCKET];
    let own = [
        LOG,
        CONSOLE,
        outside::SOCKET,
        outside::PID_FILE,
        outside::LOG,
    ];
    // The pid file last: it is what the next one knows the rest by.
    for file in sockets.into_iter().chain(own).chain([PID_FILE]) {
        let path = run_dir.join(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).during(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
