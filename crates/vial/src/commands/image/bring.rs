//! From sources to the nodes: what `load`, `build` and `debian` have in common.
//!
//! An archive becomes files of the cluster's image store here, names on its nodes by the keeper.
//!
//! ```text
//! lock ─► read, verify, unpack each source ─► list ─► keeper brings it to the nodes ─► done
//!            │ a failure, Ctrl-C:                │ a failure: the list becomes what it was
//!            ▼ nothing was changed               ▼ a kill of this process: the keeper goes on
//! ```

use std::sync::Arc;

use clap::Args;
use vial_image::load::{self, ImageName, ImageWriter, LoadError, LoadedImage, Meter, Source};
use vial_keeper::api::{ClusterStatus, ImageSource, ImagesRequest, NodeImageStatus, Phase};
use vial_keeper::client::Client;

use super::{Images, follow, lock};
use crate::cli::ClusterFlag;
use crate::context::{Context, command_line, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::image;
use crate::near;
use crate::output::{self, OutputArgs};
use crate::ui::Progress;

/// Where images shall go.
#[derive(Debug, Args)]
pub(super) struct To {
    /// Only these nodes shall have it [default: all, also those to come]
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    nodes: Vec<String>,
    #[command(flatten)]
    cluster: ClusterFlag,
}

/// What is read, and what it is called meanwhile.
pub(super) struct Reading {
    pub(super) source: Source,
    pub(super) title: String,
}

impl From<Source> for Reading {
    fn from(source: Source) -> Self {
        let title = format!("read {source}");
        Self { source, title }
    }
}

/// A cluster that can take images; found before anything is read or built.
pub(super) struct Destination<'a> {
    context: &'a Context,
    to: &'a To,
    client: Client,
    status: ClusterStatus,
}

impl To {
    /// The cluster.
    ///
    /// # Errors
    /// When there is no such cluster or node.
    pub(super) async fn find<'a>(&'a self, context: &'a Context) -> Result<Destination<'a>> {
        let cluster = &self.cluster.cluster;
        let client = context.keeper(cluster).await?;
        let status = context.status(cluster, &client).await?;
        check_nodes(&self.nodes, &status)?;
        Ok(Destination {
            context,
            to: self,
            client,
            status,
        })
    }
}

impl Destination<'_> {
    /// Brings all images of the sources, or nothing; `names` replace those of the only image.
    pub(super) async fn bring(
        &self,
        sources: impl IntoIterator<Item = Reading>,
        names: &[ImageName],
        output: &OutputArgs,
    ) -> Result {
        let (context, cluster) = (self.context, &self.to.cluster.cluster);
        let writer = Arc::new(lock(context, cluster).await?);
        let mut progress = context.ui.progress();
        let read = read_all(&writer, sources, names, &mut progress).await;
        let entered = read.and_then(|mut images| {
            for image in &mut images {
                image.nodes.clone_from(&self.to.nodes);
            }
            let before = writer.commit(&images)?;
            Ok((images, before))
        });
        let (images, before) = match entered {
            Ok(entered) => entered,
            Err(error) => {
                // A full disk needs the space of what was read; what stays now is removed by the next writer.
                let _ = writer.sweep();
                return Err(error);
            }
        };
        if is_stopped(&self.status) {
            let start = command_line("up", cluster);
            progress.note(&format!(
                "the cluster is stopped: {start} brings the nodes the image"
            ));
        } else if let Err(error) = self.deliver(&images, &mut progress).await {
            if !error.is_interrupt() {
                writer.replace(&before)?;
                writer.sweep()?;
            }
            return Err(error);
        }
        // What it replaced is not needed any more.
        writer.sweep()?;
        drop(progress);
        let report = Images(report(&images, &self.status));
        output::print(&context.ui, output.output, &report)?;
        Ok(Exit::OK)
    }

    async fn deliver(&self, images: &[LoadedImage], progress: &mut Progress) -> Result<()> {
        let cluster = &self.to.cluster.cluster;
        let names = images.iter().map(|image| image.name.clone()).collect();
        let events = self.client.deliver_images(&ImagesRequest { names }).await;
        let events = events.map_err(|error| keeper_error(cluster, error))?;
        follow(cluster, events, progress, |_| ()).await
    }
}

async fn read_all(
    writer: &Arc<ImageWriter>,
    sources: impl IntoIterator<Item = Reading>,
    names: &[ImageName],
    progress: &mut Progress,
) -> Result<Vec<LoadedImage>> {
    let mut read = Vec::new();
    for reading in sources {
        let images = read_one(writer, &reading, names.to_vec(), progress).await?;
        read.push((reading.source, images));
    }
    Ok(load::unite(read)?)
}

fn check_nodes(nodes: &[String], status: &ClusterStatus) -> Result<()> {
    let names: Vec<&str> = status.nodes.iter().map(|node| node.name.as_str()).collect();
    for node in nodes {
        if !names.contains(&node.as_str()) {
            let message = format!("cluster `{}` has no node `{node}`", status.name);
            let hint = near::hint("node", node, names.iter().copied());
            return Err(Error::new(Code::NotFound, message).hint(hint));
        }
    }
    Ok(())
}

/// Reads one source in a thread of its own and shows how far it is.
async fn read_one(
    writer: &Arc<ImageWriter>,
    reading: &Reading,
    tags: Vec<ImageName>,
    progress: &mut Progress,
) -> Result<Vec<LoadedImage>> {
    let Reading { source, title } = reading;
    let meter = Arc::new(Meter::default());
    let what = format!("cannot load {source}");
    let (reader, source, own) = (Arc::clone(writer), source.clone(), Arc::clone(&meter));
    let work = move || load::load(&reader, &source, &tags, &own);
    let read = image::read(progress, title, &meter, work).await?;
    if read.is_err() {
        progress.end(true);
    }
    let images = read.map_err(|error| match error {
        LoadError::Store(_) => Error::from(error).while_doing(&what),
        // The others name what they are about.
        error => error.into(),
    })?;
    progress.finished(title, progress.now_us());
    Ok(images)
}

fn report(images: &[LoadedImage], status: &ClusterStatus) -> Vec<NodeImageStatus> {
    let images = images.iter().map(|image| NodeImageStatus {
        name: image.name.to_string(),
        digest: image.manifest.digest.to_string(),
        size: image.size(),
        source: ImageSource::Loaded,
        nodes: status
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .filter(|node| !is_stopped(status) && image.is_for(node))
            .collect(),
    });
    images.collect()
}
/// There are no nodes to bring it to at this moment.
fn is_stopped(status: &ClusterStatus) -> bool {
    matches!(status.phase, Phase::Stopped | Phase::Frozen | Phase::Paused)
}
