//! A sandbox that is one machine: all of its memory, its devices, and its disk with all nodes on it.
//!
//! | file | |
//! |---|---|
//! | `memory`, `devices` | as QEMU writes them ([`vial_qemu::frozen`]) |
//! | `disks.json` | how many layers the disk had: it goes on from those |

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vial_qemu::Layers;
use vial_sandbox::{After, MACHINE_FILES};

use super::Cluster;
use crate::record::write_private;
use crate::{Error, Result};

const DISKS: &str = "disks.json";
/// The machine's own disk, in its directory.
const DATA: &str = "data";

#[derive(Debug, Serialize, Deserialize)]
struct Disks {
    /// How many files the disk had.
    data: usize,
}

/// Writes the machine's state to `into`.
pub(super) async fn freeze(cluster: Cluster<'_>, into: &Path, after: After) -> Result<()> {
    let files = cluster
        .paths
        .cluster_dir(&cluster.record.name)
        .join(MACHINE_FILES);
    let data = files.join(DATA);
    let before = Layers::of(&data).map_err(Error::file("read", &data))?;
    cluster.sandbox.freeze(into, after).await?;
    let disks = Disks {
        data: before.files().count(),
    };
    let path = into.join(DISKS);
    let text = serde_json::to_vec(&disks).map_err(|source| Error::Damaged {
        path: path.clone(),
        source,
    })?;
    write_private(&path, &text)
}

/// Links what the machine started from, and those layers of its disk that the state goes on from.
pub(super) fn keep(own: &Path, into: &Path, frozen: &Path) -> Result<()> {
    let layers = layers(own, frozen)?;
    fs::create_dir_all(into).map_err(Error::file("make", into))?;
    let link = |source: &Path| {
        let target = into.join(source.file_name().unwrap_or_default());
        fs::hard_link(source, &target).map_err(Error::file("link", &target))
    };
    for name in ["kernel", "initrd", "root", "program"] {
        link(&own.join(name))?;
    }
    layers.iter().try_for_each(|file| link(file))
}

fn layers(own: &Path, frozen: &Path) -> Result<Vec<std::path::PathBuf>> {
    let path = frozen.join(DISKS);
    let text = fs::read(&path).map_err(Error::file("read", &path))?;
    let disks: Disks =
        serde_json::from_slice(&text).map_err(|source| Error::Damaged { path, source })?;
    let data = own.join(DATA);
    let all = Layers::of(&data).map_err(Error::file("read", &data))?;
    Ok(all.files().take(disks.data).collect())
}

/// Has the disk go on from what belongs to the frozen state: whatever was written since is dropped.
pub(super) fn take_up(own: &Path, frozen: &Path) -> Result<()> {
    let kept = layers(own, frozen)?;
    let data = own.join(DATA);
    let all = Layers::of(&data).map_err(Error::file("read", &data))?;
    for later in all.files().skip(kept.len()) {
        fs::remove_file(&later).map_err(Error::file("remove", &later))?;
    }
    let kept = Layers::of(&data).map_err(Error::file("read", &data))?;
    kept.add()
        .map(drop)
        .map_err(Error::file("add a layer to", &data))
}
