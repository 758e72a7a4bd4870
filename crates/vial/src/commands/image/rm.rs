//! `vial image rm`.

use clap::Args;
use vial_image::load::ImageName;
use vial_keeper::api::{Event, ImageSource, ImagesRequest};

use super::{follow, lock};
use crate::cli::ClusterFlag;
use crate::context::{Context, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::near;
use crate::ui::Style;

/// Remove images from all nodes
///
/// Containers that run go on. Images that come with the node image stay; one that was loaded over such a name gives the
/// name back.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial image rm app:v1\n  vial image rm -c dev registry.example/team/app:v1 app:v2"
)]
pub(super) struct RemoveArgs {
    /// The images, as NAME:TAG
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    #[command(flatten)]
    cluster: ClusterFlag,
}

pub(super) async fn run(context: &Context, args: RemoveArgs) -> Result {
    let cluster = &args.cluster.cluster;
    let names: Vec<ImageName> = args
        .images
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()?;
    let client = context.keeper(cluster).await?;
    let writer = lock(context, cluster).await?;
    let listed = client.images().await;
    let listed = listed.map_err(|error| keeper_error(cluster, error))?;
    let mut stored = writer.store().images()?;
    for name in &names {
        let sources: Vec<_> = listed
            .iter()
            .filter(|image| image.name == name.as_str())
            .map(|image| image.source)
            .collect();
        let is_stored = stored.iter().any(|image| image.name == *name);
        if sources.is_empty() && !is_stored {
            let known = listed.iter().map(|image| image.name.as_str());
            let message = format!("no node of cluster `{cluster}` has an image `{name}`");
            let hint = near::hint("image", name.as_str(), known);
            return Err(Error::new(Code::NotFound, message).hint(hint));
        }
        if sources
            .iter()
            .all(|source| *source == ImageSource::NodeImage)
            && !is_stored
        {
            let message = format!("image `{name}` comes with the node image");
            return Err(Error::new(Code::Conflict, message));
        }
    }
    stored.retain(|image| !names.contains(&image.name));
    writer.replace(&stored)?;
    let mut progress = context.ui.progress();
    let mut lines = Vec::new();
    let events = client.remove_images(&ImagesRequest { names }).await;
    let events = events.map_err(|error| keeper_error(cluster, error))?;
    follow(cluster, events, &mut progress, |event| {
        if let Event::Removed { name, nodes } = event {
            lines.push(format!("removed {name} from {nodes} nodes"));
        }
    })
    .await?;
    drop(progress);
    writer.sweep()?;
    let ui = &context.ui;
    for line in lines {
        ui.status(format!("{} {line}", ui.paint_err(Style::Good, "✓")));
    }
    Ok(Exit::OK)
}
