//! The nodes' disks: directories of the cluster, and a containerd root that shares its files with the node image.
//!
//! This is done on the host: inside a sandbox the images and the cluster are two mounts, and link(2) does not cross
//! mounts. A maker whose sandbox has a disk of its own clones inside instead (`ContainerSpec.clones`); the driver there
//! leaves alone what is made already.

use std::path::{Path, PathBuf};

use futures::future::try_join_all;
use vial_sandbox::inside;

use super::Prepared;
use crate::paths::{Paths, private_dir};
use crate::{Error, Result};

/// Makes every disk that is missing.
///
/// # Errors
/// When there is no space, or the cluster lies on another file system than the images.
pub async fn disks(paths: &Paths, prepared: &Prepared) -> Result<()> {
    let nodes = paths.cluster_dir(&prepared.record.name).join("nodes");
    // The disks in it have the modes that nodes need: nobody of the host is to get that far.
    private_dir(&nodes).map_err(Error::file("make", &nodes))?;
    if prepared.plan.spec.sandbox.machine().is_some() {
        // They lie on its disk.
        return Ok(());
    }
    let on_host = |dir: &str| on_host(paths, &prepared.record.name, dir);
    let mut clones = Vec::new();
    // The guests of machines have a disk of their own.
    let containers = prepared.plan.containers();
    for container in containers.filter(|one| one.guest.is_none()) {
        let cloned: Vec<_> = container
            .spec
            .clones
            .iter()
            .map(|clone| clone.target.as_str())
            .collect();
        let sources = container
            .spec
            .mounts
            .iter()
            .map(|mount| mount.source.as_str());
        for dir in sources
            .chain([container.spec.upper.as_str()])
            .filter(|dir| !cloned.contains(dir))
        {
            // Extra mounts of the host are not ours to make.
            if dir.starts_with(inside::CLUSTER) {
                let dir = on_host(dir);
                std::fs::create_dir_all(&dir).map_err(Error::file("make", &dir))?;
            }
        }
        for clone in &container.spec.clones {
            let (source, target) = (on_host(&clone.source), on_host(&clone.target));
            let copy = clone.copy.clone();
            clones.push(tokio::task::spawn_blocking(move || {
                vial_sys::tree::clone(&source, &target, &copy).map_err(|error| {
                    let error = std::io::Error::other(error);
                    Error::file("clone the containerd root to", &target)(error)
                })
            }));
        }
    }
    for cloned in try_join_all(clones)
        .await
        .map_err(std::io::Error::other)
        .map_err(Error::file("make", Path::new("nodes")))?
    {
        cloned?;
    }
    Ok(())
}

/// A path of a cluster's sandbox as it is on the host.
pub(crate) fn on_host(paths: &Paths, cluster: &str, dir: &str) -> PathBuf {
    let roots = [
        (inside::CLUSTER, paths.cluster_dir(cluster)),
        (inside::IMAGES, paths.images_dir()),
    ];
    let found = roots
        .iter()
        .find_map(|(root, host)| Some(host.join(Path::new(dir).strip_prefix(root).ok()?)));
    found.unwrap_or_else(|| dir.into())
}
