//! One control group: a directory in every hierarchy.
//!
//! # Lifecycle
//! `create` (parents too) → `join` by the process that will live there → `remove`, which also removes what was made
//! below and waits while the kernel still counts the last processes. Whoever created removes; the kernel does not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Hierarchy, Kind, Layout};
use crate::{During, SysError};

/// What a group may use; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Share of busy CPUs beside its siblings, from 1 to 10000; 0 is the kernel's default, 100 (cgroup-v2.rst).
    pub cpu_weight: u64,
}

/// A group by its path below the root of every hierarchy: `vial/NAME`.
#[derive(Debug, Clone)]
pub struct Group {
    pub(super) layout: Layout,
    pub(super) path: PathBuf,
}

/// The period of a CPU quota, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

impl Group {
    /// Names a group; it need not exist.
    pub fn new(layout: Layout, path: impl Into<PathBuf>) -> Self {
        Self {
            layout,
            path: path.into(),
        }
    }

    /// Its directory in a hierarchy.
    pub(super) fn directory(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.mount_point().join(&self.path)
    }

    /// Its directories that exist.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.layout
            .hierarchies
            .iter()
            .map(|hierarchy| self.directory(hierarchy))
            .filter(|path| path.is_dir())
            .collect()
    }

    /// Makes it and its parents in every hierarchy, ready to be joined.
    ///
    /// # Errors
    /// When a hierarchy is read-only.
    pub fn create(&self) -> Result<(), SysError> {
        for hierarchy in &self.layout.hierarchies {
            let mut tries = 0;
            loop {
                match self.create_in(hierarchy) {
                    // The last group beside it was removed just now, and the parent with it.
                    Err(error) if error.source.kind() == io::ErrorKind::NotFound && tries < 10 => {
                        tries += 1;
                    }
                    result => break result?,
                }
            }
        }
        Ok(())
    }

    fn create_in(&self, hierarchy: &Hierarchy) -> Result<(), SysError> {
        let mut directory = hierarchy.mount_point();
        for component in self.path.components() {
            if hierarchy.kind == Kind::V2 {
                enable_controllers(&directory);
            }
            let parent = directory.clone();
            directory.push(component);
            make(&directory)?;
            if hierarchy.controls("cpuset") {
                inherit_cpuset(&parent, &directory)?;
            }
        }
        Ok(())
    }

    /// Makes it for the processes of its parent, which has some: controllers that are enabled above processes would make
    /// a threaded domain of the parent, and nobody could join this group (cgroups(7), version 2). See
    /// [`delegate`](Self::delegate) for the time afterwards.
    ///
    /// # Errors
    /// When a hierarchy is read-only.
    pub fn create_leaf(&self) -> Result<(), SysError> {
        for hierarchy in &self.layout.hierarchies {
            make(&self.directory(hierarchy))?;
        }
        Ok(())
    }

    /// Puts the calling process into it.
    ///
    /// # Errors
    /// When it was not created.
    pub fn join(&self) -> Result<(), SysError> {
        for hierarchy in &self.layout.hierarchies {
            write(&self.directory(hierarchy).join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Sets its limits. One that the machine has no controller for is left out.
    ///
    /// # Errors
    /// When a controller refuses the value.
    pub fn limit(&self, limits: Limits) -> Result<(), SysError> {
        for hierarchy in &self.layout.hierarchies {
            for (file, value) in planned(&hierarchy.kind, limits) {
                let path = self.directory(hierarchy).join(file);
                if path.exists() {
                    write(&path, &value)?;
                }
            }
        }
        Ok(())
    }

    /// Lets the groups below it have its controllers (version 2 only; it must have no processes itself).
    pub fn delegate(&self) {
        for hierarchy in self
            .layout
            .hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.kind == Kind::V2)
        {
            enable_controllers(&self.directory(hierarchy));
        }
    }

    /// Removes it and all below it, in every hierarchy; blocks while processes that have just ended are still counted.
    ///
    /// # Errors
    /// When a process is still in it after five seconds.
    pub fn remove(&self) -> Result<(), SysError> {
        for hierarchy in &self.layout.hierarchies {
            remove_all(&self.directory(hierarchy))?;
        }
        Ok(())
    }

    /// Removes its parent where nothing else is in it.
    pub fn remove_empty_parent(&self) {
        for parent in self
            .layout
            .hierarchies
            .iter()
            .filter_map(|hierarchy| self.directory(hierarchy).parent().map(Path::to_owned))
        {
            // Another group is in it, or it is gone: both are fine.
            let _ = fs::remove_dir(parent);
        }
    }
}

/// The files that set `limits` in a hierarchy of this kind.
fn planned(kind: &Kind, limits: Limits) -> Vec<(&'static str, String)> {
    let quota = limits.cpu_millis * PERIOD / 1000;
    let mut files = Vec::new();
    if limits.memory_bytes > 0 {
        let file = if *kind == Kind::V2 {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        files.push((file, limits.memory_bytes.to_string()));
    }
    if limits.cpu_millis > 0 && *kind == Kind::V2 {
        files.push(("cpu.max", format!("{quota} {PERIOD}")));
    } else if limits.cpu_millis > 0 {
        files.push(("cpu.cfs_period_us", PERIOD.to_string()));
        files.push(("cpu.cfs_quota_us", quota.to_string()));
    }
    if limits.cpu_weight > 0 && *kind == Kind::V2 {
        files.push(("cpu.weight", limits.cpu_weight.to_string()));
    } else if limits.cpu_weight > 0 {
        // 1024 is what 100 is there (sched-design-CFS.rst).
        files.push(("cpu.shares", (limits.cpu_weight * 1024 / 100).to_string()));
    }
    if limits.pids > 0 {
        files.push(("pids.max", limits.pids.to_string()));
    }
    files
}

fn make(directory: &Path) -> Result<(), SysError> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.during(|| format!("make the cgroup {}", directory.display())),
    }
}

fn write(path: &Path, value: &str) -> Result<(), SysError> {
    fs::write(path, value).during(|| format!("write {value:?} to {}", path.display()))
}

/// A new version 1 cpuset has no CPUs and no memory nodes, and takes no process before it has.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<(), SysError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let path = child.join(file);
        let read =
            |path: &Path| fs::read_to_string(path).during(|| format!("read {}", path.display()));
        if read(&path)?.trim().is_empty() {
            write(&path, read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

/// Each controller by itself: one that cannot be delegated does not keep the others.
fn enable_controllers(directory: &Path) {
    let Ok(controllers) = fs::read_to_string(directory.join("cgroup.controllers")) else {
        return;
    };
    for controller in controllers.split_whitespace() {
        // In hybrid setups the root of version 2 may refuse; limits then come from version 1.
        let _ = fs::write(
            directory.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
}

fn remove_all(directory: &Path) -> Result<(), SysError> {
    let operation = || format!("remove the cgroup {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.during(operation)?,
    };
    for entry in entries {
        let entry = entry.during(operation)?;
        if entry.file_type().during(operation)?.is_dir() {
            remove_all(&entry.path())?;
        }
    }
    // The kernel tells nobody when a cgroup of version 1 gets empty (only a release agent): a short back-off it is.
    let mut pause = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && waited < Duration::from_secs(5) =>
            {
                std::thread::sleep(pause);
                waited += pause;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(error) => return Err(error).during(operation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: 1 << 30,
        cpu_millis: 1500,
        pids: 0,
        cpu_weight: 400,
    };

    #[test]
    fn limits_of_both_versions() {
        assert_eq!(
            planned(&Kind::V2, LIMITS),
            [
                ("memory.max", "1073741824".to_owned()),
                ("cpu.max", "150000 100000".to_owned()),
                ("cpu.weight", "400".to_owned()),
            ]
        );
        assert_eq!(
            planned(&Kind::V1(vec![]), LIMITS),
            [
                ("memory.limit_in_bytes", "1073741824".to_owned()),
                ("cpu.cfs_period_us", "100000".to_owned()),
                ("cpu.cfs_quota_us", "150000".to_owned()),
                ("cpu.shares", "4096".to_owned()),
            ]
        );
        assert!(planned(&Kind::V2, Limits::default()).is_empty());
    }

    #[test]
    fn is_made_limited_and_removed_with_what_is_below() {
        let group = Group::new(
            Layout::detect().unwrap(),
            format!("vial-test-{}", std::process::id()),
        );
        group.create().unwrap();
        group.create().unwrap();
        group
            .limit(Limits {
                pids: 100,
                ..LIMITS
            })
            .unwrap();
        let directories = group.directories();
        assert!(!directories.is_empty());
        fs::create_dir(directories[0].join("below")).unwrap();
        group.remove().unwrap();
        assert!(group.directories().is_empty());
        group.remove().unwrap();
    }
}
