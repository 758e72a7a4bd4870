//! `vial image load`: an archive becomes files of the cluster's image store here, names on its nodes by the keeper.
//!
//! ```text
//! lock ─► read, verify, unpack ─► list ─► keeper brings it to the nodes ─► done
//!            │ a failure, Ctrl-C:           │ a failure: the list becomes what it was
//!            ▼ nothing was changed          ▼ a kill of this process: the keeper goes on
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use vial_image::load::{self, ImageName, ImageWriter, LoadError, LoadedImage, Meter, Source};
use vial_keeper::api::{ClusterStatus, ImageSource, ImagesRequest, NodeImageStatus, Phase};
use vial_keeper::client::Client;

use super::{Images, follow, lock};
use crate::cli::ClusterFlag;
use crate::commands::node_image::size;
use crate::context::{Context, command_line, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::near;
use crate::output::{self, OutputArgs};
use crate::ui::Progress;

/// The step of reading, for the progress display.
const READING: &str = "archive";

/// Load images from an archive or a layout, for pods on all nodes
///
/// Takes an OCI archive, an archive of `docker save`, both also compressed (gzip, zstd, xz), or the directory of an OCI
/// layout. Of an image for several platforms the one for the nodes is taken. Pods can use the image at once, without a
/// registry; nodes that are added later get it too. However many nodes there are, its files are on the disk once.
///
/// A pod takes the tag `latest` from the node only with `imagePullPolicy: IfNotPresent` or `Never`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial image load app.tar
  docker save app:v1 | vial image load -
  vial image load ./layout -t registry.example/team/app:v1
  vial image load app.tar --nodes w-1,w-2")]
pub(super) struct LoadArgs {
    /// An archive, the directory of a layout, or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    source: PathBuf,
    /// What the image shall be called, instead of the name it has; may be given several times
    #[arg(short, long = "tag", value_name = "NAME:TAG")]
    tags: Vec<String>,
    /// Only these nodes shall have it [default: all, also those to come]
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    nodes: Vec<String>,
    #[command(flatten)]
    cluster: ClusterFlag,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(context: &Context, args: LoadArgs) -> Result {
    let tags: Vec<ImageName> = args
        .tags
        .iter()
        .map(|tag| tag.parse())
        .collect::<Result<_, _>>()?;
    let source = match args.source.to_str() {
        Some("-") => Source::Stdin,
        _ => Source::Path(args.source.clone()),
    };
    let cluster = &args.cluster.cluster;
    let client = context.keeper(cluster).await?;
    let status = context.status(cluster, &client).await?;
    check_nodes(&args.nodes, &status)?;

    let writer = Arc::new(lock(context, cluster).await?);
    let mut progress = context.ui.progress();
    let read = read(&writer, source, tags, &mut progress).await;
    let entered = read.and_then(|mut images| {
        for image in &mut images {
            image.nodes.clone_from(&args.nodes);
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
    if status.phase == Phase::Stopped {
        let start = command_line("up", cluster);
        progress.note(&format!(
            "the cluster is stopped: {start} brings the nodes the image"
        ));
    } else if let Err(error) = deliver(cluster, &client, &images, &mut progress).await {
        if !error.is_interrupt() {
            writer.replace(&before)?;
            writer.sweep()?;
        }
        return Err(error);
    }
    // What it replaced is not needed any more.
    writer.sweep()?;
    drop(progress);
    for image in images.iter().filter(|image| image.name.is_latest()) {
        context.ui.status(format!(
            "pods need `imagePullPolicy: IfNotPresent` to take {} from the node",
            image.name
        ));
    }
    output::print(
        &context.ui,
        args.output.output,
        &Images(report(&images, &status)),
    )?;
    Ok(Exit::OK)
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

/// Reads the archive in a thread of its own and shows how far it is.
async fn read(
    writer: &Arc<ImageWriter>,
    source: Source,
    tags: Vec<ImageName>,
    progress: &mut Progress,
) -> Result<Vec<LoadedImage>> {
    let meter = Arc::new(Meter::default());
    let what = format!("cannot load {source}");
    progress.started(READING, &format!("read {source}"), None, progress.now_us());
    let (reader, own) = (Arc::clone(writer), Arc::clone(&meter));
    let mut reading =
        tokio::task::spawn_blocking(move || load::load(&reader, &source, &tags, &own));
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut signal = std::pin::pin!(interrupt::signal());
    let mut interrupted = false;
    let read = loop {
        tokio::select! {
            read = &mut reading => break read,
            () = &mut signal, if !interrupted => {
                interrupted = true;
                meter.cancel();
            }
            _ = tick.tick() => progress.detail(READING, &how_far(&meter)),
        }
    };
    let read = read.map_err(|error| Error::caused("the reading of the archive ended", error))?;
    if interrupted {
        return Err(Error::new(
            Code::Interrupted,
            "interrupted; nothing was changed",
        ));
    }
    if read.is_err() {
        progress.end(true);
    }
    let images = read.map_err(|error| match error {
        LoadError::Store(_) => Error::from(error).while_doing(&what),
        // The others name what they are about.
        error => error.into(),
    })?;
    progress.finished(READING, progress.now_us());
    Ok(images)
}

/// `120 of 500 MB`, as far as it is known what there is.
fn how_far(meter: &Meter) -> String {
    match meter.look() {
        (0, _) => String::new(),
        (done, total) if done <= total => format!("{}%", done * 100 / total.max(1)),
        (done, _) => size(done),
    }
}

async fn deliver(
    cluster: &str,
    client: &Client,
    images: &[LoadedImage],
    progress: &mut Progress,
) -> Result<()> {
    let names = images.iter().map(|image| image.name.clone()).collect();
    let events = client.deliver_images(&ImagesRequest { names }).await;
    let events = events.map_err(|error| keeper_error(cluster, error))?;
    follow(cluster, events, progress, |_| ()).await
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
            .filter(|node| status.phase != Phase::Stopped && image.is_for(node))
            .collect(),
    });
    images.collect()
}
