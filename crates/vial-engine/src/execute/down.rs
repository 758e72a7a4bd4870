//! The end of a cluster, from whatever state it is in.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use futures::future::join_all;
use vial_sandbox::Maker;

use super::limits;
use crate::paths::Paths;
use crate::progress::{Reporter, step};
use crate::record::{Journal, Record};
use crate::{Error, Result};

/// Ends the sandbox and removes everything of the cluster but the caller's lock. Works on a damaged or half-made
/// cluster, and again after a cut.
///
/// # Errors
/// When something could not be removed; what is left is named.
pub async fn down(maker: &dyn Maker, paths: &Paths, name: &str, report: &Reporter) -> Result<()> {
    // A damaged record must not keep anybody from removing the cluster.
    if let Ok(Some(mut record)) = Record::load(paths, name) {
        record.journal = Journal::Deleting;
        record.save(paths)?;
    }
    let spec = super::sandbox_spec(paths, name);
    let dir = paths.cluster_dir(name);
    let ending = step(report, None, "sandbox", "end the sandbox", async {
        match maker.find(&spec).await? {
            Some(sandbox) => sandbox.end().await,
            None => maker.sweep(&spec).await,
        }
        .map_err(Error::from)
    });
    let nodes = node_disks(&dir).into_iter().map(|disk| {
        // What dying processes still write, or an error, is met again below.
        tokio::task::spawn_blocking(move || remove_tree(&disk).ok())
    });
    let (ended, _) = tokio::join!(ending, join_all(nodes));
    ended?;
    step(report, None, "disks", "remove the disks", async {
        tokio::task::spawn_blocking(move || remove_cluster(&dir))
            .await
            .unwrap_or(Ok(()))
    })
    .await?;
    limits::restore(paths)
}

/// The largest part of what is removed: thousands of files a node, which are removed while the sandbox ends.
fn node_disks(dir: &Path) -> Vec<PathBuf> {
    let nodes = fs::read_dir(dir.join("nodes")).into_iter().flatten();
    nodes.flatten().map(|entry| entry.path()).collect()
}

/// The record goes last: what a cut leaves is known as the rest of a cluster.
fn remove_cluster(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::file("read", dir))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::file("read", dir))?;
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            remove_tree(&path)?;
        }
    }
    remove_tree(dir)
}

/// How often a tree is removed again that somebody was writing to.
const TRIES: usize = 5;

/// Removes a directory tree; fine when it is gone. An image that is being loaded meanwhile finds no directory to go on
/// in, and ends; what it could still write between two looks is removed by another one.
pub(super) fn remove_tree(dir: &Path) -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && tries < TRIES => {}
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::file("remove", dir)(error));
            }
            _ => return Ok(()),
        }
    }
}
