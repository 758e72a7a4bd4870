//! `vial image load|build|debian|sshd|ls|rm`: the container images of a cluster.

mod bring;
mod build;
mod debian;
mod load;
mod rm;
mod sshd;

use std::pin::pin;

use clap::{Args, Subcommand};
use futures::{Stream, StreamExt as _};
use vial_image::load::ImageWriter;
use vial_keeper::api::{Event, NodeImageStatus};
use vial_keeper::client::ClientError;

use super::node_image::size;
use crate::cli::ClusterFlag;
use crate::context::{Context, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::interrupt;
use crate::output::{self, OutputArgs, Report};
use crate::ui::{Progress, Table, Ui};

/// Bring container images into a cluster, list and remove them
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Load images from archives, layouts or a local container engine, for pods on all nodes
    Load(load::LoadArgs),
    /// Build an image from a Dockerfile with buildah, podman or docker, for pods on all nodes
    Build(build::BuildArgs),
    /// Make a base image of Debian packages, without any registry
    Debian(Box<debian::DebianArgs>),
    /// Write the image of the ssh server to a file, for the registry of another cluster
    Sshd(sshd::SshdArgs),
    /// List the images that the nodes have
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Remove images from all nodes
    Rm(rm::RemoveArgs),
}

/// List the images that the nodes have
///
/// An image is there because the node image brought it, because it was loaded, or because a node pulled it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial image ls\n  vial image ls -o name\n  vial image ls -c dev -o json"
)]
struct ListArgs {
    #[command(flatten)]
    cluster: ClusterFlag,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) async fn run(context: &Context, args: ImageArgs) -> Result {
    if !matches!(args.command, ImageCommand::Sshd(_)) {
        context.require_owner("use the images of a cluster")?;
    }
    match args.command {
        ImageCommand::Sshd(args) => sshd::run(context, args).await,
        ImageCommand::Load(args) => load::run(context, args).await,
        ImageCommand::Build(args) => build::run(context, args).await,
        ImageCommand::Debian(args) => debian::run(context, *args).await,
        ImageCommand::Ls(args) => ls(context, &args).await,
        ImageCommand::Rm(args) => rm::run(context, args).await,
    }
}

async fn ls(context: &Context, args: &ListArgs) -> Result {
    let name = &args.cluster.cluster;
    let client = context.keeper(name).await?;
    let images = client.images().await;
    let images = images.map_err(|error| keeper_error(name, error))?;
    output::print(&context.ui, args.output.output, &Images(images))?;
    Ok(Exit::OK)
}

/// Images, and which nodes have them.
struct Images(Vec<NodeImageStatus>);

impl Report for Images {
    type Data = [NodeImageStatus];

    fn data(&self) -> &[NodeImageStatus] {
        &self.0
    }

    fn text(&self, wide: bool, ui: &Ui) -> String {
        let mut table = Table::new(["IMAGE", "DIGEST", "SIZE", "SOURCE", "NODES"]);
        for image in &self.0 {
            let digest = if wide {
                image.digest.as_str()
            } else {
                image.digest.get(..19).unwrap_or(&image.digest)
            };
            table.row([
                image.name.as_str().into(),
                digest.into(),
                size(image.size).into(),
                image.source.as_str().into(),
                image.nodes.join(",").into(),
            ]);
        }
        table.render(ui.color_out())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.0.iter().map(|image| image.name.clone()).collect();
        names.dedup();
        names
    }
}

/// The right to write to the cluster's images. Another load or removal is waited for.
async fn lock(context: &Context, cluster: &str) -> Result<ImageWriter> {
    let store = context.paths.image_store(cluster);
    let locking = tokio::task::spawn_blocking(move || store.lock());
    tokio::select! {
        locked = locking => locked.map_err(|error| Error::caused("cannot lock the images", error))?.map_err(Error::from),
        () = interrupt::signal() => Err(Error::new(Code::Interrupted, "interrupted while another command was at work on the images")),
    }
}

/// Follows an operation of the keeper to its end.
async fn follow(
    cluster: &str,
    events: impl Stream<Item = Result<Event, ClientError>>,
    progress: &mut Progress,
    mut on: impl FnMut(&Event),
) -> Result<()> {
    let mut events = pin!(events);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupt::signal() => {
                return Err(Error::new(Code::Interrupted, "interrupted; the nodes are brought up to date in the background"));
            }
        };
        match event {
            Some(Ok(Event::Done { .. })) => return Ok(()),
            Some(Ok(Event::Failed {
                message,
                hint,
                code,
            })) => {
                progress.end(true);
                return Err(Error::told(code, &message, hint));
            }
            Some(Ok(event)) => {
                on(&event);
                progress.event(&event);
            }
            Some(Err(error)) => return Err(keeper_error(cluster, error)),
            None => {
                let message = format!("the keeper of cluster `{cluster}` ended meanwhile");
                return Err(Error::new(Code::Failed, message).hint("run the same command again"));
            }
        }
    }
}
