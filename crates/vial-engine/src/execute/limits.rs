//! The one limit of the host's kernel that a large cluster does not fit under: inotify instances for each user.
//!
//! Nodes have the host's root as their user, and each kubelet, containerd and kube-proxy holds a few instances; a dozen
//! nodes reach the kernel's default of 128 (inotify(7), `/proc/sys/fs/inotify/max_user_instances`), beyond which kubelets
//! end at once. The limit is raised only when the clusters of this home need more than it allows, which is said, and put
//! back when the last cluster goes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::paths::Paths;
use crate::progress::{Progress, Reporter};
use crate::record::{Record, names, write_private};
use crate::{Error, Result};

/// The kernel's knob.
const KNOB: &str = "/proc/sys/fs/inotify/max_user_instances";
/// For each node: kubelet 6, containerd 2, kube-proxy 1, and one for a pod that watches files.
const PER_NODE: usize = 10;
/// For each control plane: API server 6, controller manager 8, scheduler 3.
const PER_CLUSTER: usize = 17;
/// For everything else that root runs on the host.
const OF_HOST: usize = 40;

/// Raises the limit when the clusters on disk need it.
///
/// # Errors
/// When it is too low and cannot be raised.
pub fn raise(paths: &Paths, report: &Reporter) -> Result<()> {
    // Who is not root has nodes in a virtual machine only, which has a kernel and limits of its own.
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let knob = Path::new(KNOB);
    let Some(limit) = read(knob) else {
        return Ok(());
    };
    let mut needed = OF_HOST;
    for name in names(paths)? {
        // A sandbox that is a machine has a kernel, and limits, of its own.
        if let Ok(Some(record)) = Record::load(paths, &name)
            && record.spec.sandbox.machine().is_none()
        {
            needed += PER_CLUSTER + PER_NODE * record.spec.nodes.len();
        }
    }
    if needed <= limit {
        return Ok(());
    }
    let memo = memo(paths);
    if !memo.exists() {
        write_private(&memo, limit.to_string().as_bytes())?;
    }
    fs::write(knob, needed.to_string()).map_err(Error::file("raise the limit in", knob))?;
    let text = format!(
        "the host's limit fs.inotify.max_user_instances is raised from {limit} to {needed} for so many nodes; it is put back with the last cluster"
    );
    report(Progress::note(text));
    Ok(())
}

/// Puts the limit back once no cluster is left.
///
/// # Errors
/// When the former value cannot be written.
pub(super) fn restore(paths: &Paths) -> Result<()> {
    let memo = memo(paths);
    if !names(paths)?.is_empty() {
        return Ok(());
    }
    if let Some(limit) = read(&memo) {
        let knob = Path::new(KNOB);
        fs::write(knob, limit.to_string()).map_err(Error::file("restore", knob))?;
        fs::remove_file(&memo).map_err(Error::file("remove", &memo))?;
    }
    Ok(())
}

/// Where the former value is remembered.
fn memo(paths: &Paths) -> PathBuf {
    paths.home.join("inotify-limit")
}

fn read(path: &Path) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
