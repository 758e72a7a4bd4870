//! Builds a node image.
//!
//! ```text
//!   options ─► version, reference (bad ones end here, nothing touched)
//!           ─► lock the store ─┬─► debian: lock packages ─► base layer, toolbox ─┐
//!                              └─► programs: dir | release | go ──────────────────┴─► layers ─► bill of materials ─► commit
//! ```
//! Each layer is made from a digest of its inputs and kept under it: what did not change is not made again, and a
//! build that was killed goes on from what was finished.
//!
//! # On failure
//! Finished layers and downloads stay for the next build; everything else lies in `tmp/` and is removed by it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Base, Kind};
use crate::components::{self, Built, Programs};
use crate::containers::{Containers, Toolbox};
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::{Error, IoContext, Result};
use crate::image::{ComponentRecord, NodeImage, Reference, SBOM};
use crate::layer::LayerTar;
use crate::options::{BuildOptions, Progress, Report};
use crate::sbom;
use crate::store::{LayerBlob, Store, Writer};

/// Increase when this file makes other layers of the same inputs.
const VERSION: &str = "1";
/// Bytes that a first build needs below `$VIAL_HOME`, roughly.
const NEEDED: u64 = 3_000_000_000;

/// Builds a node image and gives it its name. Tells `progress` what it does; the same inputs give the same digest.
///
/// A build by another process is waited for. Dropping the future ends the programs it started; a layer that is being
/// written is finished first.
pub async fn build(
    store: &Store,
    options: &BuildOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<NodeImage> {
    let version = components::version(options).await?;
    let reference: Reference = match &options.tag {
        Some(tag) => tag.parse()?,
        // Versions of developers' builds have a `+`, which a tag cannot.
        None => format!("vial/node:{}", version.replace('+', "-")).parse()?,
    };
    let writer = lock(store, progress).await?;
    let first = store.list()?.is_empty();
    disk::require_free(store.root(), if first { NEEDED } else { NEEDED / 4 })?;

    let parts = Parts {
        writer,
        options,
        home: store.home().to_path_buf(),
        report: progress,
    };
    let ((base, base_layers, toolbox), programs) = tokio::try_join!(
        parts.debian(),
        components::gather(options, store.home(), progress)
    )?;
    let digest = parts
        .assemble(&reference, &base, base_layers, toolbox, programs)
        .await?;
    let mut image = store.find(digest.as_str())?;
    image.reference = reference.to_string();
    Ok(image)
}

async fn lock(store: &Store, report: Report<'_>) -> Result<Arc<Writer>> {
    if store.is_locked() {
        report(Progress::Note {
            text: "waiting for another build of a node image".into(),
        });
    }
    let store = store.clone();
    blocking(move || store.lock()).await.map(Arc::new)
}

/// Runs what keeps the processor or the disk busy, apart from the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Error::Cancelled))
}

struct Parts<'a> {
    writer: Arc<Writer>,
    options: &'a BuildOptions,
    home: PathBuf,
    report: Report<'a>,
}

impl Parts<'_> {
    fn started(&self, id: &str, title: impl Into<String>) {
        (self.report)(Progress::Started {
            id: id.into(),
            title: title.into(),
        });
    }

    fn finished(&self, id: &str, cached: bool) {
        (self.report)(Progress::Finished {
            id: id.into(),
            cached,
        });
    }

    /// The layers that come from Debian, and the toolbox.
    async fn debian(&self) -> Result<(Base, Vec<LayerBlob>, Toolbox)> {
        let base = Base::lock(self.options, &self.home, self.report).await?;
        let node = self.base_layer(&base, Kind::Node, None).await?;
        let mut layers = vec![node];
        if self.options.vm {
            layers.push(self.base_layer(&base, Kind::Vm, Some(&layers[0])).await?);
        }
        let toolbox = self.toolbox(&base).await?;
        Ok((base, layers, toolbox))
    }

    /// A root file system as a layer; `node` is the layer it is a difference to.
    async fn base_layer(
        &self,
        base: &Base,
        kind: Kind,
        node: Option<&LayerBlob>,
    ) -> Result<LayerBlob> {
        let node = node.map(|layer| self.writer.located(layer).unpacked);
        let mut hasher = Hasher::default();
        hasher.field(VERSION);
        hasher.field(base.inputs(kind).as_str());
        let inputs = hasher.finish();
        let id = format!("debian/{}", kind.name());
        let title = format!("debian {} ({})", self.options.suite, kind.name());
        self.started(&id, format!("make the layer {title}"));
        let (writer, key) = (self.writer.clone(), inputs.clone());
        if let Some(layer) = blocking(move || Ok(writer.cached(&key))).await? {
            self.finished(&id, true);
            return Ok(layer);
        }
        let scratch = self.writer.scratch("rootfs-")?;
        let root = scratch.path().join("root");
        let (writer, base) = (self.writer.clone(), base.clone());
        let (layer, _) = blocking(move || {
            base.build(kind, &root, node.as_deref())?;
            let made = writer.layer(&inputs, &title, |tar| tar.tree("", &root));
            drop(scratch);
            made
        })
        .await?;
        self.finished(&id, false);
        Ok(layer)
    }

    /// The layers of container images that Debian packages make.
    async fn toolbox(&self, base: &Base) -> Result<Toolbox> {
        let id = "debian/toolbox";
        self.started(id, "make the toolbox image");
        let cache = self.home.join("cache/toolbox");
        let inputs = Toolbox::inputs(base);
        let (kept, key) = (cache.clone(), inputs.clone());
        if let Some(toolbox) = blocking(move || Ok(Toolbox::cached(&kept, &key))).await? {
            self.finished(id, true);
            return Ok(toolbox);
        }
        let scratch = self.writer.scratch("toolbox-")?;
        let base = base.clone();
        let toolbox = blocking(move || {
            Toolbox::tidy(&cache, &inputs);
            let made = Toolbox::make(&cache, &inputs, &base, scratch.path());
            drop(scratch);
            made
        })
        .await?;
        self.finished(id, false);
        Ok(toolbox)
    }

    async fn assemble(
        &self,
        reference: &Reference,
        base: &Base,
        mut layers: Vec<LayerBlob>,
        toolbox: Toolbox,
        programs: Programs,
    ) -> Result<Digest> {
        self.started("layers", "write layers");
        let packages = base.packages(self.options.vm);
        let (writer, suite, reference, report) = (
            self.writer.clone(),
            self.options.suite.clone(),
            reference.clone(),
            self.report,
        );
        // Told afterwards: the work below cannot borrow `report`.
        let (digest, fresh) = blocking(move || {
            let mut fresh = Vec::new();
            let containers = Containers {
                programs: &programs,
                toolbox: &toolbox,
                suite: &suite,
            };
            let (layer, images, cached) = containers.layer(&writer)?;
            if !cached {
                fresh.push(layer.title.clone());
            }
            layers.push(layer);
            for group in groups(&programs) {
                let (layer, cached) = program_layer(&writer, &group)?;
                if !cached {
                    fresh.push(layer.title.clone());
                }
                layers.push(layer);
            }
            let mut records: Vec<ComponentRecord> = programs
                .all
                .iter()
                .filter(|built| !built.directory.is_empty())
                .map(|built| built.record.clone())
                .collect();
            records.extend(images);
            let kubernetes = &programs.kubernetes;
            layers.push(list_layer(
                &writer,
                &sbom::document(kubernetes, &suite, &packages, &records),
            )?);
            // The document has the modules; the config needs not repeat them.
            records.iter_mut().for_each(|record| record.modules.clear());
            Ok((
                writer.commit(&reference, kubernetes, &suite, &records, &layers)?,
                fresh,
            ))
        })
        .await?;
        if !fresh.is_empty() {
            report(Progress::Update {
                id: "layers".into(),
                detail: format!("new: {}", fresh.join(", ")),
            });
        }
        self.finished("layers", fresh.is_empty());
        Ok(digest)
    }
}

/// The programs of each layer: one for each program of Kubernetes, one for each other module.
fn groups(programs: &Programs) -> Vec<Vec<&Built>> {
    let mut groups: Vec<Vec<&Built>> = Vec::new();
    for built in programs
        .all
        .iter()
        .filter(|built| !built.directory.is_empty())
    {
        match groups.last_mut() {
            Some(group)
                if group[0].module == built.module && !built.module.starts_with("kubernetes") =>
            {
                group.push(built)
            }
            _ => groups.push(vec![built]),
        }
    }
    groups
}

fn program_layer(writer: &Writer, group: &[&Built]) -> Result<(LayerBlob, bool)> {
    let mut hasher = Hasher::default();
    hasher.field(VERSION);
    for built in group {
        hasher.field(&built.record.name);
        hasher.field(&built.record.sha256);
        hasher.field(built.directory);
    }
    let first = &group[0];
    let name = if group.len() == 1 {
        first.record.name.as_str()
    } else {
        first.module
    };
    let title = format!("{name} {}", first.record.version);
    hasher.field(&title);
    writer.layer(&hasher.finish(), &title, |tar| add_programs(tar, group))
}

fn add_programs(tar: &mut LayerTar<'_, '_>, group: &[&Built]) -> Result<()> {
    let mut directory = "";
    for built in group {
        if built.directory != directory {
            directory = built.directory;
            tar.parents(Path::new(directory).join("x"))?;
        }
        let file = std::fs::File::open(&built.file).at("open", &built.file)?;
        let size = file.metadata().at("read", &built.file)?.len();
        tar.file(
            Path::new(directory).join(&built.record.name),
            0o755,
            size,
            file,
        )?;
    }
    Ok(())
}

/// The topmost layer: what is in the image.
fn list_layer(writer: &Writer, document: &serde_json::Value) -> Result<LayerBlob> {
    let bytes = format!("{document:#}\n").into_bytes();
    let mut hasher = Hasher::default();
    hasher.field(VERSION);
    hasher.field(&bytes);
    let (layer, _) = writer.layer(&hasher.finish(), "bill of materials", |tar| {
        tar.parents(SBOM)?;
        tar.file(SBOM, 0o644, bytes.len() as u64, &bytes[..])
    })?;
    Ok(layer)
}
