//! `vial image load`.

use std::ffi::OsString;

use clap::{Args, ValueEnum, ValueHint};
use vial_image::load::{Engine, ImageName, LoadError, Source};

use super::bring::To;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::output::OutputArgs;

/// Load images from archives, layouts or a local container engine, for pods on all nodes
///
/// Takes OCI archives, archives of `docker save`, both also compressed (gzip, zstd, xz), directories of OCI layouts, and
/// the names of images that docker, podman, buildah or containerd have on this machine. What is there as a file or directory is
/// taken for one; the engines are asked for the rest, in that order, until one has it. Of an image for several platforms
/// the one for the nodes is taken. Of several sources all are loaded, or none.
///
/// Pods can use the images at once, without a registry; nodes that are added later get them too. However many nodes there
/// are, their files are on the disk once. Pods need no `imagePullPolicy` for it, whatever the tag.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial image load app.tar
  vial image load app.tar ./layout nginx:1.29       several at once
  vial image load podman://app:v1                   of podman; the same: --from podman app:v1
  docker save app:v1 | vial image load -
  vial image load ./layout -t registry.example/team/app:v1
  vial image load app.tar --nodes w-1,w-2")]
pub(super) struct LoadArgs {
    /// Archives, directories of layouts, images of a local container engine, or - for standard input
    #[arg(value_name = "FILE|DIR|IMAGE|-", required = true, value_hint = ValueHint::AnyPath)]
    sources: Vec<OsString>,
    /// What the image shall be called, instead of the name it has; may be given several times
    #[arg(short, long = "tag", value_name = "NAME:TAG")]
    tags: Vec<String>,
    /// Take images of this engine, whatever files there are
    #[arg(long, value_enum, value_name = "ENGINE")]
    from: Option<From>,
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    output: OutputArgs,
}

/// `--from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum From {
    Docker,
    Podman,
    Buildah,
    Containerd,
}

pub(super) async fn run(context: &Context, args: LoadArgs) -> Result {
    let engine = args.from.map(|from| match from {
        From::Docker => Engine::Docker,
        From::Podman => Engine::Podman,
        From::Buildah => Engine::Buildah,
        From::Containerd => Engine::Containerd,
    });
    let tags: Vec<ImageName> = args
        .tags
        .iter()
        .map(|tag| tag.parse())
        .collect::<Result<_, _>>()?;
    let sources = sources(&args.sources, engine)?;
    if !tags.is_empty() && sources.len() > 1 {
        let message = format!(
            "-t names one image, and there are {} sources",
            sources.len()
        );
        return Err(Error::new(Code::BadInput, message)
            .hint("without -t they keep the names they have; load one at a time to rename it"));
    }
    let destination = args.to.find(context).await?;
    let sources = sources.into_iter().map(Into::into);
    destination.bring(sources, &tags, &args.output).await
}

/// What is meant by each word; what cannot be read is told before anything is.
fn sources(words: &[OsString], engine: Option<Engine>) -> Result<Vec<Source>> {
    let mut sources: Vec<Source> = Vec::new();
    for word in words {
        let source = Source::parse(word, engine)?;
        if let Source::Path(path) = &source
            && !path.exists()
        {
            let path = path.display().to_string();
            return Err(LoadError::Missing { path }.into());
        }
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    Ok(sources)
}
