//! Which files of a cluster's directory may be one file with those of a copy of it: what is never written in place.
//!
//! - blobs of containerd, of the registry and of loaded images: named by their content, replaced by rename;
//! - committed snapshots of containerd: lower directories of overlays. Which these are says the snapshotter's database;
//!   the others are what containers write to, and a file of theirs may have several names without being shared;
//! - unpacked layers of loaded images: made once.
//!
//! Everything else is copied: databases, states, logs, volumes, upper directories.

use std::collections::BTreeSet;
use std::fs::{self, FileType};
use std::io;
use std::path::{Component, Path, PathBuf};

use vial_sys::tree::Share;

use super::bolt::{Bolt, Value};
use crate::plan::REGISTRY;

/// Of containerd's overlay snapshotter, below its root.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.overlayfs";
/// Its blobs, below its root.
const BLOBS: &str = "io.containerd.content.v1.content/blobs";
/// `KindCommitted` of containerd's core/snapshots.
const COMMITTED: u8 = 3;

/// What becomes of an entry, by its path below the directory that is copied.
type Judge = fn(&Path, FileType) -> Share;

/// What there is in a cluster's directory beside the nodes, and belongs to what is frozen.
pub(super) const BESIDE: [(&str, Judge); 3] = [
    (REGISTRY, of_registry),
    ("images", of_images),
    ("pki", |_, _| Share::Copy),
];

/// What becomes of what is in a node's directory: `containerd/…`, `kubelet/…`.
pub(super) struct OfNode {
    committed: BTreeSet<PathBuf>,
}

impl OfNode {
    /// Looks which snapshots are committed.
    ///
    /// # Errors
    /// When the snapshotter's database cannot be read; a node without one has no snapshots.
    pub(super) fn of(node: &Path) -> io::Result<Self> {
        let database = node
            .join("containerd")
            .join(SNAPSHOTTER)
            .join("metadata.db");
        let bytes = match fs::read(&database) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let ids = if bytes.is_empty() {
            BTreeSet::new()
        } else {
            committed(&bytes)?
        };
        let snapshots = Path::new("containerd").join(SNAPSHOTTER).join("snapshots");
        Ok(Self {
            committed: ids
                .iter()
                .map(|id| snapshots.join(id.to_string()))
                .collect(),
        })
    }

    /// Of a path below the node's directory.
    pub(super) fn judge(&self, path: &Path, kind: FileType) -> Share {
        if let Some(decided) = unwanted(path) {
            return decided;
        }
        let is_shared = path == Path::new("containerd").join(BLOBS)
            || self.committed.contains(path) && kind.is_dir();
        match is_shared {
            true => Share::Link,
            // It is frozen and brought back on a way of its own.
            false if path == Path::new("control-plane") => Share::Omit,
            false => Share::Copy,
        }
    }
}

/// Of a path below the registry's directory.
fn of_registry(path: &Path, _: FileType) -> Share {
    let is_shared = path == Path::new("data/docker/registry/v2/blobs");
    match unwanted(path) {
        Some(decided) => decided,
        None if is_shared => Share::Link,
        None => Share::Copy,
    }
}

/// Of a path below the directory of loaded images.
fn of_images(path: &Path, _: FileType) -> Share {
    match path.to_str() {
        Some("blobs" | "layers") => Share::Link,
        Some("tmp" | ".lock") => Share::Omit,
        _ => Share::Copy,
    }
}

/// Scratch of overlays, and what was in the making.
fn unwanted(path: &Path) -> Option<Share> {
    let is_scratch = path.ends_with("root/work") && path.components().count() == 2;
    let is_half = path.extension().is_some_and(|one| one == "vial-clone");
    let is_whole = path
        .components()
        .all(|one| matches!(one, Component::Normal(_)));
    (is_scratch || is_half || !is_whole).then_some(Share::Omit)
}

/// The directories' numbers of the committed snapshots (containerd's core/snapshots/storage/bolt.go): bucket `v1`,
/// bucket `snapshots`, a bucket for each with `kind`, a byte, and `id`, a varint.
fn committed(database: &[u8]) -> io::Result<BTreeSet<u64>> {
    let bolt = Bolt::open(database)?;
    let mut ids = BTreeSet::new();
    let Some(version) = bolt.root().bucket(b"v1")? else {
        return Ok(ids);
    };
    let Some(snapshots) = version.bucket(b"snapshots")? else {
        return Ok(ids);
    };
    snapshots.each(&mut |_, value| {
        let Value::Bucket(snapshot) = value else {
            return Ok(());
        };
        let (mut kind, mut id) = (0, None);
        snapshot.each(&mut |key, value| {
            if let Value::Bytes(bytes) = value {
                match key {
                    b"kind" => kind = bytes.first().copied().unwrap_or_default(),
                    b"id" => id = varint(bytes),
                    _ => {}
                }
            }
            Ok(())
        })?;
        ids.extend(id.filter(|_| kind == COMMITTED));
        Ok(())
    })?;
    Ok(ids)
}

/// Go's encoding/binary: seven bits a byte, the lowest first.
fn varint(bytes: &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().enumerate() {
        let shift = u32::try_from(index * 7).ok().filter(|shift| *shift < 64)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::bolt::tests::{bucket, database};
    use super::*;

    const BUCKET: u32 = 1;

    fn snapshots() -> Vec<u8> {
        let one =
            |id: &[u8], kind: u8| bucket(&[(b"id", 0, id.to_vec()), (b"kind", 0, vec![kind])]);
        let all = bucket(&[
            (b"k8s.io/1/sha256:a", BUCKET, one(&[1], COMMITTED)),
            (b"k8s.io/2/sha256:b", BUCKET, one(&[0xac, 0x02], COMMITTED)),
            (b"k8s.io/3/container", BUCKET, one(&[7], 2)),
        ]);
        database(&[(b"v1", BUCKET, bucket(&[(b"snapshots", BUCKET, all)]))])
    }

    #[test]
    fn committed_snapshots_are_found_by_their_numbers() {
        assert_eq!(committed(&snapshots()).unwrap(), [1, 300].into());
        assert_eq!(committed(&database(&[])).unwrap(), [].into());
    }

    #[test]
    fn only_what_is_never_written_in_place_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("containerd").join(SNAPSHOTTER);
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("metadata.db"), snapshots()).unwrap();
        let of_node = OfNode::of(dir.path()).unwrap();
        let (file, directory) = (
            root.join("metadata.db").metadata().unwrap().file_type(),
            root.metadata().unwrap().file_type(),
        );
        let below = |rest: &str| Path::new("containerd").join(SNAPSHOTTER).join(rest);
        for (path, expected) in [
            (below("snapshots/1"), Share::Link),
            (below("snapshots/300"), Share::Link),
            (below("snapshots/7"), Share::Copy),
            (below("snapshots/8"), Share::Copy),
            (below("snapshots"), Share::Copy),
            ("containerd".into(), Share::Copy),
            (Path::new("containerd").join(BLOBS), Share::Link),
            ("kubelet".into(), Share::Copy),
            ("control-plane".into(), Share::Omit),
            ("root/work".into(), Share::Omit),
            ("volumes/root/work".into(), Share::Copy),
            ("containerd.vial-clone".into(), Share::Omit),
        ] {
            assert_eq!(of_node.judge(&path, directory), expected, "{path:?}");
        }
        assert_eq!(of_node.judge(&below("metadata.db"), file), Share::Copy);
    }

    #[test]
    fn a_damaged_database_is_no_reason_to_share() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("containerd").join(SNAPSHOTTER);
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("metadata.db"), [1; 10_000]).unwrap();
        assert!(OfNode::of(dir.path()).is_err());
    }
}
