//! `vial kubectl …`: the kubectl of the node image, for machines that have none.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use vial_image::Store;

use super::kubeconfig::{access, yaml};
use crate::cli::ClusterFlag;
use crate::context::{Context, keeper_error};
use crate::error::{Code, Error, Result};
use crate::kubeconfig::Document;

/// Run the kubectl of the cluster's own version
///
/// It comes from the node image and talks to the cluster named by -c, which is written before kubectl's own arguments.
/// Its exit code is passed on.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vial kubectl get nodes -o wide\n  vial kubectl -c dev logs mypod -c app\n  vial kubectl apply -f - < manifest.yaml"
)]
#[command(disable_help_flag = true)]
pub(crate) struct KubectlArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterFlag,
    /// What kubectl is told
    #[arg(
        value_name = "ARGUMENT",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) arguments: Vec<OsString>,
}

pub(crate) async fn run(context: &Context, args: KubectlArgs) -> Result {
    context.require_owner("read a cluster's keys")?;
    let name = &args.cluster.cluster;
    let client = context.keeper(name).await?;
    let status = context.status(name, &client).await?;
    let access = access(
        client
            .access()
            .await
            .map_err(|error| keeper_error(name, error))?,
    );

    let kubectl = find_kubectl(&context.paths.home, &status.node_image_digest)?;
    let config = write_config(
        &context.paths.run_dir(name),
        &yaml(&Document::standalone(name, &access))?,
    )?;
    // This process becomes kubectl: terminal, signals and exit code are its own.
    let error = std::process::Command::new(&kubectl)
        .args(&args.arguments)
        .env("KUBECONFIG", &config)
        .exec();
    Err(Error::caused(
        format!("cannot run {}", kubectl.display()),
        error,
    ))
}

fn find_kubectl(home: &Path, digest: &str) -> Result<PathBuf> {
    let image = Store::open(home)
        .and_then(|store| store.find(digest))
        .map_err(Error::from)?;
    let recorded = image
        .component("kubectl")
        .and_then(|component| component.path.clone());
    [
        "usr/bin/kubectl",
        "usr/local/bin/kubectl",
        "opt/vial/bin/kubectl",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(recorded)
    .find_map(|path| image.in_layers(path))
    .ok_or_else(|| {
        Error::new(
            Code::NotFound,
            format!("node image `{}` has no kubectl", image.reference),
        )
    })
}

/// One private file for each cluster, replaced whole: it may be in use by another kubectl.
fn write_config(directory: &Path, text: &str) -> Result<PathBuf> {
    let path = directory.join("kubeconfig");
    let write = || -> std::io::Result<()> {
        let mut aside = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        aside.write_all(text.as_bytes())?;
        aside.persist(&path)?;
        Ok(())
    };
    write().map_err(|error| Error::caused(format!("cannot write {}", path.display()), error))?;
    Ok(path)
}
