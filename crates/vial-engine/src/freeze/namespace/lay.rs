//! From a frozen cluster to the disks of a cluster that is about to be thawed.

use std::fs;
use std::path::{Path, PathBuf};

use vial_sys::tree::Share;

use super::freeze::replica;
use super::share::{self, OfNode};
use super::{CLUSTER, DUMP};
use crate::paths::{Paths, private_dir};
use crate::plan::FREEZER;
use crate::{Error, Result};

/// Lays the disks of `cluster`, as they are in the frozen one `from`, and its dump. What is there already is left alone, so
/// that it may be called again after a cut, and for a cluster whose disks were left where they are.
///
/// # Errors
/// When there is no space, or `from` is no frozen cluster.
pub fn lay(paths: &Paths, from: &Path, cluster: &str) -> Result<()> {
    let target = paths.cluster_dir(cluster);
    let nodes = target.join("nodes");
    private_dir(&nodes).map_err(Error::file("make", &nodes))?;
    let frozen = from.join(CLUSTER);
    std::thread::scope(|scope| {
        let mut work = Vec::new();
        for node in entries(&frozen.join("nodes"))? {
            let to = nodes.join(node.file_name().unwrap_or_default());
            work.push(scope.spawn(move || {
                let judge = OfNode::of(&node);
                let judge = judge.map_err(Error::file("read the snapshots of", &node))?;
                replica(&node, &to, &|path, kind| match judge.judge(path, kind) {
                    Share::Omit if path == Path::new("control-plane") => Share::Copy,
                    decided => decided,
                })
            }));
        }
        for (below, judge) in share::BESIDE {
            let (from, to) = (frozen.join(below), target.join(below));
            work.push(scope.spawn(move || replica(&from, &to, &judge)));
        }
        // One that panicked has said why.
        let done = work
            .into_iter()
            .map(|one| one.join().unwrap_or(Err(Error::Ended)));
        done.collect::<Result<()>>()
    })?;
    for node in entries(&nodes)? {
        let disk = node.join("control-plane");
        if disk.exists() {
            lay_dump(&from.join(DUMP), &disk.join(FREEZER.0))?;
        }
    }
    Ok(())
}

/// The memory of the control plane, which is only ever read.
fn lay_dump(from: &Path, freezer: &Path) -> Result<()> {
    private_dir(freezer).map_err(Error::file("make", freezer))?;
    let to = freezer.join(DUMP);
    match fs::remove_dir_all(&to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::file("remove", &to)(error));
        }
        _ => {}
    }
    if !from.is_dir() {
        let missing = std::io::ErrorKind::NotFound.into();
        return Err(Error::file("find the dump", from)(missing));
    }
    replica(from, &to, &|_, _| Share::Link)
}

/// What is in a directory; nothing where there is none.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("read", dir))?,
    };
    let paths = entries.map(|entry| Ok(entry.map_err(Error::file("read", dir))?.path()));
    paths.collect()
}
