//! `vial node-image save` and `vial node-image load`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use vial_image::Store;
use vial_image::load::{LoadError, Meter, Source};

use super::default_image;
use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::image;
use crate::ui::{Progress, Style};

/// Write node images to a file, for another machine or another person
///
/// The file is an OCI archive; `vial node-image load` reads it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial node-image save -o node.tar
  vial node-image save vial/node:v1.36.3 -o - | ssh other vial node-image load -")]
pub(super) struct SaveArgs {
    /// The images, as NAME:TAG or sha256:…
    #[arg(value_name = "IMAGE", default_values_t = [default_image()])]
    images: Vec<String>,
    /// The file; - is standard output
    #[arg(short, long, value_name = "FILE.tar", value_hint = ValueHint::FilePath)]
    output: PathBuf,
}

/// Bring node images from an archive or from another directory of images
///
/// Everybody can: only building one needs root. What root built lies in /var/lib/vial/images, which everybody may read.
/// Every blob is verified by its digest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial node-image load node.tar
  vial node-image load /var/lib/vial/images                    all that root has
  vial node-image load /var/lib/vial/images vial/node:v1.36.3
  curl -L https://example.org/node.tar | vial node-image load -")]
pub(super) struct LoadArgs {
    /// An archive, a directory of an OCI layout, or - for standard input
    #[arg(value_name = "FILE|DIR|-", value_hint = ValueHint::AnyPath)]
    source: OsString,
    /// Only these of its images, as NAME:TAG or sha256:…
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
}

pub(super) async fn save(context: &Context, args: SaveArgs) -> Result {
    let path = match args.output.as_os_str() {
        dash if dash == "-" => Path::new("/dev/stdout").to_owned(),
        _ => args.output,
    };
    if path.is_dir() {
        let message = format!("-o {} is a directory", path.display());
        return Err(Error::new(Code::BadInput, message).hint("-o takes a file for the archive"));
    }
    let store = super::open(context)?;
    let (images, shown) = (args.images.clone(), path.clone());
    tokio::task::spawn_blocking(move || store.save(&images, &path))
        .await
        .map_err(|error| Error::caused("cannot write the archive", error))??;
    let ui = &context.ui;
    ui.status(format!(
        "{} node image {} in {}",
        ui.paint_err(Style::Good, "✓"),
        args.images.join(", "),
        shown.display()
    ));
    Ok(Exit::OK)
}

pub(super) async fn load(context: &Context, args: LoadArgs) -> Result {
    let source = match args.source.as_os_str() {
        dash if dash == "-" => Source::Stdin,
        path => Source::Path(path.into()),
    };
    let store = super::open(context)?;
    let mut progress = context.ui.progress();
    let names = read(&store, &source, args.images, &mut progress).await;
    progress.end(names.is_err());
    let names = names?;
    let ui = &context.ui;
    for name in &names {
        ui.status(format!(
            "{} node image {name}",
            ui.paint_err(Style::Good, "✓")
        ));
    }
    let digests: Result<Vec<_>> = names
        .iter()
        .map(|name| Ok(store.find(&name.to_string())?.digest))
        .collect();
    for digest in digests? {
        ui.data(format!("{digest}\n"))?;
    }
    Ok(Exit::OK)
}

async fn read(
    store: &Store,
    source: &Source,
    wanted: Vec<String>,
    progress: &mut Progress,
) -> Result<Vec<vial_image::Reference>> {
    let title = format!("read {source}");
    let meter = Arc::new(Meter::default());
    let (store, from, own) = (store.clone(), source.clone(), Arc::clone(&meter));
    let work = move || store.load(&from, &wanted, &own);
    let read = image::read(progress, &title, &meter, work).await?;
    let names = read.map_err(|error| match error {
        LoadError::Store(_) => Error::from(error).while_doing(&format!("cannot load {source}")),
        // The others name what they are about.
        error => error.into(),
    })?;
    progress.finished(&title, progress.now_us());
    Ok(names)
}
