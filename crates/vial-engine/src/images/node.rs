//! One node's containerd: what it has, and how images come to it and go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use vial_image::Digest;
use vial_image::load::{Blob, ImageLayer, ImageName, ImageStore, LoadedImage};
use vial_rpc::containerd::services::content::v1::{WriteAction, WriteContentRequest};
use vial_rpc::containerd::services::diff::v1::ApplyRequest;
use vial_rpc::containerd::services::images::v1::{
    CreateImageRequest, DeleteImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use vial_rpc::containerd::services::leases::v1::{CreateRequest, DeleteRequest};
use vial_rpc::containerd::services::snapshots::v1::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use vial_rpc::containerd::{Containerd, cri, types};
use vial_rpc::{Code, Status};

use super::{Cluster, links};
use crate::execute::on_host;
use crate::plan::NodePlan;
use crate::{Error, Result};

const SOCKET: &str = "/run/containerd/containerd.sock";
const ROOT: &str = "/var/lib/containerd";
const SNAPSHOTTER: &str = "overlayfs";
/// What holds a delivery's blobs and snapshots until they have a name; there is one delivery at a time.
const LEASE: &str = "vial-load";
/// After which containerd drops the lease of a delivery that was cut off.
const LEASE_HOURS: i64 = 1;
/// How much of a blob is sent at once, in bytes, and how many of these may be on their way.
const PIECE: usize = 1 << 20;
const PIECES: usize = 4;
/// How often a blob that the garbage collector took from under us is put there again.
const TRIES: usize = 3;
/// How long the kubelet's view of the images may take to follow.
const SEEN: Duration = Duration::from_secs(30);

/// Label of the images that the kubelet sees (containerd's internal/cri/labels).
const MANAGED: (&str, &str) = ("io.cri-containerd.image", "managed");
/// Label of those that the kubelet's garbage collection spares: they could not be pulled again.
const PINNED: (&str, &str) = ("io.cri-containerd.pinned", "pinned");
/// Label of those that vial brought.
pub(super) const LOADED: (&str, &str) = ("dev.vial.source", "loaded");

/// A node whose containerd answers.
pub(super) struct Node {
    name: String,
    containerd: Containerd,
    /// Its root on the host; `None` where that lies on the disk of a virtual machine: the node's, or the sandbox's.
    root: Option<PathBuf>,
}

impl Node {
    pub(super) async fn open(cluster: Cluster<'_>, node: &NodePlan) -> Result<Self> {
        let name = node.config.name.clone();
        let container = node
            .containers
            .iter()
            .find(|one| one.spec.mounts.iter().any(|mount| mount.target == ROOT));
        let Some(container) = container else {
            let what = format!("cannot reach the images of {name}");
            return Err(Error::rpc(what)(Status::not_found("it has no containerd")));
        };
        let in_machine = cluster.plan.spec.sandbox.machine().is_some();
        let mounts = container.spec.mounts.iter();
        let root = mounts
            .filter(|mount| mount.target == ROOT && container.guest.is_none() && !in_machine)
            .map(|mount| on_host(cluster.paths, cluster.name, &mount.source))
            .next();
        let channel = cluster.sandbox.socket(&container.spec.name, SOCKET).await?;
        let containerd = Containerd::new(channel);
        Ok(Self {
            name,
            containerd,
            root,
        })
    }

    /// All images, as containerd names them.
    pub(super) async fn images(&self) -> Result<Vec<Image>> {
        let mut images = self.containerd.images();
        let listed = images.list(ListImagesRequest::default()).await;
        let listed = listed.map_err(self.failed("cannot list the images"))?;
        Ok(listed.into_inner().images)
    }

    /// Bytes of each image that the kubelet sees, by its names.
    pub(super) async fn sizes(&self) -> Result<BTreeMap<String, u64>> {
        let mut cri = self.containerd.cri();
        let listed = cri.list_images(cri::ListImagesRequest {}).await;
        let listed = listed.map_err(self.failed("cannot list the images"))?;
        let images = listed.into_inner().images.into_iter();
        Ok(images
            .flat_map(|image| {
                let size = image.size;
                image.repo_tags.into_iter().map(move |tag| (tag, size))
            })
            .collect())
    }

    /// Those that the node does not have, or under another digest.
    pub(super) async fn missing<'a>(
        &self,
        images: Vec<&'a LoadedImage>,
    ) -> Result<Vec<&'a LoadedImage>> {
        let present = self.images().await?;
        let has = |image: &&LoadedImage| {
            present.iter().any(|one| {
                one.name == image.name.as_str() && digest_of(one) == image.manifest.digest.as_str()
            })
        };
        Ok(images.into_iter().filter(|image| !has(image)).collect())
    }

    /// Puts blobs and snapshots there, under a lease. What a delivery that was cut off has left goes first.
    pub(super) async fn prepare(&self, store: &ImageStore, images: &[&LoadedImage]) -> Result<()> {
        self.release().await?;
        let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(LEASE_HOURS);
        let request = CreateRequest {
            id: LEASE.into(),
            labels: labels([("containerd.io/gc.expire", &expires.to_string())]),
        };
        let created = self.containerd.leases().create(request).await;
        created.map_err(self.failed("cannot take a lease"))?;
        let filled = async {
            for image in images {
                self.fill(store, image).await?;
            }
            Ok(())
        };
        let filled: Result<()> = filled.await;
        if filled.is_err() {
            // It ends by its time at the latest; the failure is what counts.
            let _ = self.release().await;
        }
        filled
    }

    /// Drops the lease: what has no name yet is collected.
    pub(super) async fn release(&self) -> Result<()> {
        let request = DeleteRequest {
            id: LEASE.into(),
            sync: true,
        };
        match self.containerd.leases().delete(request).await {
            Err(status) if status.code() != Code::NotFound => {
                Err(self.failed("cannot drop a lease")(status))
            }
            _ => Ok(()),
        }
    }

    async fn fill(&self, store: &ImageStore, image: &LoadedImage) -> Result<()> {
        // References for containerd's garbage collector, as an import sets them.
        let mut references =
            BTreeMap::from([reference("content.config", image.config.digest.as_str())]);
        let mut parent = String::new();
        for (number, layer) in image.layers.iter().enumerate() {
            let plain = labels([("containerd.io/uncompressed", layer.diff_id.as_str())]);
            self.blob(store, &layer.blob, plain).await?;
            references.extend([reference(
                &format!("content.l.{number}"),
                layer.blob.digest.as_str(),
            )]);
            self.snapshot(store, layer, &parent).await?;
            parent = layer.chain_id.to_string();
        }
        let snapshot = (!parent.is_empty())
            .then(|| reference(&format!("snapshot.{SNAPSHOTTER}"), &parent))
            .into_iter()
            .collect();
        self.blob(store, &image.config, snapshot).await?;
        self.blob(store, &image.manifest, references).await
    }

    /// Makes a blob known that lies in the content store's directory: its metadata finds it there by digest and size
    /// (containerd's core/metadata/content.go, `Writer`), and nothing is copied.
    async fn blob(
        &self,
        store: &ImageStore,
        blob: &Blob,
        labels: BTreeMap<String, String>,
    ) -> Result<()> {
        let source = store.blob_path(&blob.digest);
        let Some(root) = self.root.clone() else {
            return self.send(&source, blob, labels).await;
        };
        let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
        let request = WriteContentRequest {
            action: WriteAction::Commit.into(),
            r#ref: format!("{LEASE}-{}", blob.digest.hex()),
            total: size,
            expected: blob.digest.to_string(),
            offset: size,
            data: Vec::new(),
            labels,
        };
        let mut tries = 0;
        loop {
            let (source, root, hex) = (source.clone(), root.clone(), blob.digest.hex().to_owned());
            blocking(move || links::blob(&source, &root, &hex)).await?;
            tries += 1;
            match self.write(request.clone()).await {
                Ok(()) => return Ok(()),
                Err(status) if status.code() == Code::AlreadyExists => return Ok(()),
                // A blob that nothing knew was collected before it was made known.
                Err(status) if status.code() == Code::OutOfRange && tries < TRIES => {}
                Err(status) => {
                    let what = format!("cannot add blob {}", blob.digest);
                    return Err(self.failed(&what)(status));
                }
            }
        }
    }

    async fn write(&self, request: WriteContentRequest) -> std::result::Result<(), Status> {
        let mut content = self.containerd.leased(LEASE).content();
        let requests = futures::stream::iter([request]);
        let mut answers = content.write(requests).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    }

    /// Sends a blob whose file cannot be put there.
    async fn send(
        &self,
        source: &Path,
        blob: &Blob,
        labels: BTreeMap<String, String>,
    ) -> Result<()> {
        let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
        let first = WriteContentRequest {
            action: WriteAction::Write.into(),
            r#ref: format!("{LEASE}-{}", blob.digest.hex()),
            total: size,
            expected: blob.digest.to_string(),
            ..WriteContentRequest::default()
        };
        let file = File::open(source).await;
        let mut file = file.map_err(Error::file("open", source))?;
        let (sender, requests) = mpsc::channel(PIECES);
        let what = format!("cannot add blob {}", blob.digest);
        let sending = async move {
            let mut offset = 0;
            loop {
                let mut data = vec![0; PIECE];
                let length = file.read(&mut data).await?;
                data.truncate(length);
                let at_end = length == 0;
                let request = WriteContentRequest {
                    action: match at_end {
                        true => WriteAction::Commit.into(),
                        false => WriteAction::Write.into(),
                    },
                    offset,
                    labels: if at_end {
                        labels.clone()
                    } else {
                        BTreeMap::new()
                    },
                    data,
                    ..first.clone()
                };
                // Nobody listens any more: the answer says why.
                if sender.send(request).await.is_err() || at_end {
                    return Ok(());
                }
                offset += i64::try_from(length).unwrap_or_default();
            }
        };
        let receiving = async {
            let mut content = self.containerd.leased(LEASE).content();
            let answers = content.write(ReceiverStream::new(requests)).await;
            let mut answers = answers?.into_inner();
            while answers.message().await?.is_some() {}
            Ok::<(), Status>(())
        };
        let (sent, received): (std::io::Result<()>, _) = tokio::join!(sending, receiving);
        match received {
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            Err(status) => Err(self.failed(&what)(status)),
            Ok(()) => sent.map_err(Error::file("read", source)),
        }
    }

    /// Makes a snapshot of a layer.
    async fn snapshot(&self, store: &ImageStore, layer: &ImageLayer, parent: &str) -> Result<()> {
        let chain = layer.chain_id.as_str();
        let mut snapshots = self.containerd.leased(LEASE).snapshots();
        let stat = StatSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: chain.into(),
        };
        if snapshots.stat(stat).await.is_ok() {
            return Ok(());
        }
        let what = format!("cannot add layer {chain}");
        let key = format!("{LEASE} {chain}");
        let prepare = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: key.clone(),
            parent: parent.into(),
            labels: BTreeMap::new(),
        };
        let remove = RemoveSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: key.clone(),
        };
        let prepared = match snapshots.prepare(prepare.clone()).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                let removed = snapshots.remove(remove.clone()).await;
                removed.map_err(self.failed(&what))?;
                snapshots.prepare(prepare).await
            }
            prepared => prepared,
        };
        let mounts = prepared.map_err(self.failed(&what))?.into_inner().mounts;
        let filled = async {
            let Some(root) = &self.root else {
                return self.unpack(&layer.blob, mounts).await;
            };
            let directory = upper(&mounts).and_then(|inside| inside.strip_prefix(ROOT).ok());
            let Some(directory) = directory else {
                let status = Status::internal(format!("unexpected mounts {mounts:?}"));
                return Err(self.failed(&what)(status));
            };
            let (unpacked, target) = (store.layer_path(&layer.chain_id), root.join(directory));
            blocking(move || links::layer(&unpacked, &target)).await
        };
        if let Err(error) = filled.await {
            // The lease's end takes it otherwise.
            let _ = snapshots.remove(remove).await;
            return Err(error);
        }
        let commit = CommitSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            name: chain.into(),
            key,
            labels: BTreeMap::new(),
        };
        match snapshots.commit(commit).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                let removed = snapshots.remove(remove).await;
                removed.map_err(self.failed(&what)).map(|_| ())
            }
            committed => committed.map_err(self.failed(&what)).map(|_| ()),
        }
    }

    /// Has containerd unpack a blob that it has.
    async fn unpack(&self, blob: &Blob, mounts: Vec<types::Mount>) -> Result<()> {
        let request = ApplyRequest {
            diff: Some(descriptor(blob)),
            mounts,
        };
        let applied = self.containerd.leased(LEASE).diff().apply(request).await;
        let what = format!("cannot unpack layer {}", blob.digest);
        applied.map_err(self.failed(&what)).map(drop)
    }

    /// Gives what was prepared its names, and waits until the kubelet sees them.
    pub(super) async fn publish(&self, images: &[&LoadedImage]) -> Result<()> {
        let before = self.images().await?;
        for image in images {
            let target = descriptor(&image.manifest);
            // The second name is how the kubelet asks for an image by its id.
            for name in [image.name.as_str(), image.config.digest.as_str()] {
                self.name(name, target.clone()).await?;
            }
        }
        // What had one of these names before, and no other one, is not wanted any more.
        for image in images {
            let former = before
                .iter()
                .find(|one| one.name == image.name.as_str())
                .filter(|one| digest_of(one) != image.manifest.digest.as_str());
            if let Some(former) = former {
                self.forget(digest_of(former)).await?;
            }
        }
        for image in images {
            self.seen(image).await?;
        }
        Ok(())
    }

    async fn name(&self, name: &str, target: types::Descriptor) -> Result<()> {
        let image = Image {
            name: name.into(),
            labels: labels([MANAGED, PINNED, LOADED]),
            target: Some(target),
        };
        let mut images = self.containerd.images();
        let create = CreateImageRequest {
            image: Some(image.clone()),
        };
        let done = match images.create(create).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                let update = UpdateImageRequest { image: Some(image) };
                images.update(update).await.map(|_| ())
            }
            created => created.map(|_| ()),
        };
        done.map_err(self.failed(&format!("cannot name image {name}")))
    }

    /// Removes the ids of a digest that has no name any more, if vial brought it.
    async fn forget(&self, digest: &str) -> Result<()> {
        let images = self.images().await?;
        let of_it = || images.iter().filter(|one| digest_of(one) == digest);
        if of_it().any(|one| !is_id(&one.name)) {
            return Ok(());
        }
        for id in of_it().filter(|one| is_loaded(one)) {
            self.delete(&id.name).await?;
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let request = DeleteImageRequest {
            name: name.into(),
            sync: true,
        };
        match self.containerd.images().delete(request).await {
            Err(status) if status.code() != Code::NotFound => {
                Err(self.failed(&format!("cannot remove image {name}"))(status))
            }
            _ => Ok(()),
        }
    }

    /// The kubelet's view follows containerd's by events.
    async fn seen(&self, image: &LoadedImage) -> Result<()> {
        let mut cri = self.containerd.cri();
        let looking = async {
            loop {
                let image_spec = cri::ImageSpec {
                    image: image.name.to_string(),
                };
                let request = cri::ImageStatusRequest {
                    image: Some(image_spec),
                };
                let status = cri.image_status(request).await;
                let status = status.map_err(self.failed("cannot look for the image"))?;
                let seen = status.into_inner().image;
                if seen.is_some_and(|seen| seen.id == image.config.digest.as_str()) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(SEEN, looking).await {
            Ok(seen) => seen,
            Err(_) => Err(Error::Timeout {
                what: format!("the kubelet of {} does not see {}", self.name, image.name),
                seconds: SEEN.as_secs(),
                detail: String::new(),
            }),
        }
    }

    /// Takes names away; says which of them it had.
    pub(super) async fn remove(
        &self,
        names: &[ImageName],
        shipped: &[(String, Digest)],
    ) -> Result<Vec<bool>> {
        let before = self.images().await?;
        let mut removed = Vec::new();
        for name in names {
            let Some(image) = before.iter().find(|one| one.name == name.as_str()) else {
                removed.push(false);
                continue;
            };
            let original = shipped
                .iter()
                .find(|(shipped, _)| shipped == name.as_str())
                .and_then(|(_, digest)| {
                    before.iter().find(|one| digest_of(one) == digest.as_str())
                });
            match original {
                Some(original) if digest_of(original) != digest_of(image) => {
                    let restored = Image {
                        name: name.to_string(),
                        ..original.clone()
                    };
                    let update = UpdateImageRequest {
                        image: Some(restored),
                    };
                    let what = format!("cannot restore image {name}");
                    let updated = self.containerd.images().update(update).await;
                    updated.map_err(self.failed(&what))?;
                }
                _ => self.delete(name.as_str()).await?,
            }
            // Names by digest and by id go with the last tag.
            let digest = digest_of(image);
            let of_it = self.images().await?;
            let of_it: Vec<_> = of_it
                .iter()
                .filter(|one| digest_of(one) == digest)
                .collect();
            if of_it.iter().all(|one| is_id(&one.name)) {
                for id in of_it {
                    self.delete(&id.name).await?;
                }
            }
            removed.push(true);
        }
        Ok(removed)
    }

    fn failed(&self, what: &str) -> impl FnOnce(Status) -> Error + use<> {
        Error::rpc(format!("{what} on {}", self.name))
    }
}

fn descriptor(blob: &Blob) -> types::Descriptor {
    types::Descriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest.to_string(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        annotations: BTreeMap::new(),
    }
}

/// The directory that a snapshot's mount writes to, as the node sees it: nothing has to be mounted.
fn upper(mounts: &[types::Mount]) -> Option<&Path> {
    let [mount] = mounts else { return None };
    if mount.r#type == "bind" {
        return Some(Path::new(&mount.source));
    }
    let upper = |option: &'_ String| option.starts_with("upperdir=");
    let option = mount.options.iter().find(|option| upper(option))?;
    option.strip_prefix("upperdir=").map(Path::new)
}

/// The digest of the manifest that a name stands for.
pub(super) fn digest_of(image: &Image) -> &str {
    image
        .target
        .as_ref()
        .map_or("", |target| target.digest.as_str())
}

/// Names that nobody typed: `sha256:…`, `repository@sha256:…`.
pub(super) fn is_id(name: &str) -> bool {
    name.starts_with("sha256:") || name.contains('@')
}

pub(super) fn is_loaded(image: &Image) -> bool {
    image
        .labels
        .get(LOADED.0)
        .is_some_and(|value| value == LOADED.1)
}

/// A reference for containerd's garbage collector.
fn reference(what: &str, to: &str) -> (String, String) {
    (format!("containerd.io/gc.ref.{what}"), to.to_owned())
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    pairs.map(owned).into()
}

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_s_directory_is_found_in_its_mount() {
        let mount = |kind: &str, source: &str, options: &[&str]| types::Mount {
            r#type: kind.into(),
            source: source.into(),
            target: String::new(),
            options: options.iter().map(|&option| option.into()).collect(),
        };
        let bind = [mount("bind", "/s/1/fs", &["rw", "rbind"])];
        assert_eq!(upper(&bind), Some(Path::new("/s/1/fs")));
        let options = ["index=off", "workdir=/s/2/work", "upperdir=/s/2/fs"];
        let overlay = [mount("overlay", "overlay", &options)];
        assert_eq!(upper(&overlay), Some(Path::new("/s/2/fs")));
        assert_eq!(upper(&[]), None);
    }

    #[test]
    fn ids_are_told_from_names() {
        assert!(
            ["sha256:00", "a.example/b@sha256:00"]
                .into_iter()
                .all(is_id)
        );
        assert!(!is_id("docker.io/library/a:1"));
    }
}
