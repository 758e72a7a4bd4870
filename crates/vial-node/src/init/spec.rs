//! What the maker and the first process of a sandbox agree on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vial_sys::SysError;
use vial_sys::cgroup::{Group, Layout};

/// Below the run directory: the identity of the first process, as JSON.
pub const PID_FILE: &str = "init.pid";
/// Below the run directory: where Init is served.
pub const SOCKET: &str = "init.sock";
/// The cgroup that holds those of all sandboxes.
pub const CGROUP_PARENT: &str = "vial";

/// What a first process needs to know; all paths are the host's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitSpec {
    /// The cluster's name.
    pub name: String,
    /// Shown read-only at `/vial/images`.
    pub images_dir: PathBuf,
    /// Shown at `/vial/cluster`.
    pub cluster_dir: PathBuf,
    /// Shown at `/vial/run`.
    pub run_dir: PathBuf,
    /// Shown read-only at `/vial/bin/vial`.
    pub program: PathBuf,
    /// Shown at `/vial/mounts/N`; whether read-only.
    pub mounts: Vec<(PathBuf, bool)>,
}

impl InitSpec {
    /// Where the identity is written.
    pub fn pid_file(&self) -> PathBuf {
        self.run_dir.join(PID_FILE)
    }

    /// The cgroup of a sandbox, as seen on the host.
    ///
    /// # Errors
    /// When the machine has no cgroups mounted.
    pub fn group(name: &str) -> Result<Group, SysError> {
        Ok(Group::new(
            Layout::detect()?,
            format!("{CGROUP_PARENT}/{name}"),
        ))
    }
}
