//! `vial image sshd`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use vial_image::means::Means;

use crate::context::Context;
use crate::error::{Code, Error, Exit, Result};
use crate::ui::Style;

/// Write the image of the ssh server to a file, for the registry of another cluster
///
/// Clusters of vial have it. On another one, pods get the server through the API, which needs a shell, cat and gzip in
/// their image, and takes 3 MB of the cluster's store in each namespace; with this image in a registry that the nodes can
/// pull from, any image will do: `vial pod create NAME --sshd IMAGE`.
///
/// The file is an OCI archive, which `skopeo copy oci-archive:FILE docker://REGISTRY/sshd:TAG`, podman and crane push.
/// It holds a busybox, the shell of images without one, when there is a node image to take it from.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial image sshd                        vial-sshd.tar
  vial image sshd -o /tmp/sshd.tar
  vial image sshd -o - | podman load")]
pub(super) struct SshdArgs {
    /// The file; - is standard output
    #[arg(short, long, value_name = "FILE.tar", default_value = "vial-sshd.tar", value_hint = ValueHint::FilePath)]
    output: PathBuf,
}

pub(super) async fn run(context: &Context, args: SshdArgs) -> Result {
    let path = match args.output.as_os_str() {
        dash if dash == "-" => Path::new("/dev/stdout").to_owned(),
        _ => args.output,
    };
    if path.is_dir() {
        let message = format!("-o {} is a directory", path.display());
        return Err(Error::new(Code::BadInput, message).hint("-o takes a file for the archive"));
    }
    let home = context.paths.home.clone();
    let (means, path) = tokio::task::spawn_blocking(move || {
        let means = Means::of_any(&home);
        means.archive(&path)?;
        Ok::<_, vial_image::Error>((means, path))
    })
    .await
    .map_err(|error| Error::caused("cannot write the image", error))??;
    let ui = &context.ui;
    let what = if means.busybox().is_some() {
        "with a busybox"
    } else {
        "without a busybox: there is no node image to take it from, so images without a shell will have none"
    };
    ui.status(format!(
        "{} image {} in {} ({what})",
        ui.paint_err(Style::Good, "✓"),
        means.name(),
        path.display()
    ));
    // Whoever has the archive on standard output wants nothing else there.
    if path.is_file() {
        ui.data(format!("{}\n", means.name()))?;
    }
    Ok(Exit::OK)
}
