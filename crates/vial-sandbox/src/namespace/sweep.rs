//! What the kernel leaves when a first process has ended: cgroup directories and the pid file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use vial_node::init::{InitSpec, PID_FILE, SOCKET};
use vial_sys::{During, SysError};

use crate::errors::{error, failed};
use crate::{SandboxError, pid_file};

/// Removes it; fine when there is nothing, refused while the first process lives.
pub(super) async fn sweep(name: String, run_dir: PathBuf) -> Result<(), SandboxError> {
    let sandbox = name.clone();
    match tokio::task::spawn_blocking(move || remove(&name, &run_dir)).await {
        Ok(result) => {
            result.map_err(|cause| failed("cannot clean up after the sandbox", &sandbox, cause))
        }
        Err(join) => Err(error(
            "cannot clean up after the sandbox",
            &sandbox,
            io::Error::other(join),
        )),
    }
}

fn remove(name: &str, run_dir: &Path) -> Result<(), SysError> {
    // Its cgroups are not for the taking while it lives.
    if pid_file::find(run_dir, PID_FILE)?.is_some() {
        return Err(SysError::other("look for its first process", "it is alive"));
    }
    let group = InitSpec::group(name)?;
    group.remove()?;
    group.remove_empty_parent();
    for file in [SOCKET, PID_FILE] {
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
