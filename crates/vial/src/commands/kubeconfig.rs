//! `vial kubeconfig [NAME]`.

use clap::Args;
use vial_keeper::api::KubeAccess;

use crate::cli::ClusterName;
use crate::context::{Context, check_name, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::kubeconfig::{self, Access, Document, Environment, Place, context_name};
use crate::output;

/// Print a cluster's kubeconfig, or merge it into yours
///
/// `vial up` merges it and `vial down` takes it out again; this is for the other cases. Yours is the file that kubectl
/// would write to: of those in KUBECONFIG the first that exists, else ~/.kube/config of whoever called sudo.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial kubeconfig > dev.yaml        a file of its own
  vial kubeconfig dev --merge       context vial-dev in yours, made the current one
  vial kubeconfig dev --unmerge     and out again")]
pub(crate) struct KubeconfigArgs {
    #[command(flatten)]
    cluster: ClusterName,
    /// Merge it into your kubeconfig and make its context the current one
    #[arg(long)]
    merge: bool,
    /// Take it out of the files into which it was merged
    #[arg(long, conflicts_with = "merge")]
    unmerge: bool,
    /// How to print it
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "yaml", conflicts_with_all = ["merge", "unmerge"])]
    output: KubeconfigFormat,
}

/// A kubeconfig has no columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KubeconfigFormat {
    /// YAML.
    Yaml,
    /// JSON, which kubectl reads as well.
    Json,
    /// Only the name of its context.
    Name,
}

pub(crate) async fn run(context: &Context, args: KubeconfigArgs) -> Result {
    context.require_owner("read a cluster's keys")?;
    let name = &args.cluster.name;
    check_name(name)?;
    if args.unmerge {
        return unmerge(context, name);
    }
    let client = context.keeper(name).await?;
    let access = access(
        client
            .access()
            .await
            .map_err(|error| keeper_error(name, error))?,
    );
    if args.merge {
        let path = merge(context, name, &access)?;
        context.ui.status(format!(
            "context {} is in {path} and is the current one",
            context_name(name)
        ));
        return Ok(Exit::OK);
    }
    let document = Document::standalone(name, &access);
    context.ui.data(match args.output {
        KubeconfigFormat::Yaml => yaml(&document)?,
        KubeconfigFormat::Json => output::json(document.as_json())?,
        KubeconfigFormat::Name => context_name(name) + "\n",
    })?;
    Ok(Exit::OK)
}

/// Merges a cluster's context into the invoking person's kubeconfig; tells which file that is.
pub(crate) fn merge(context: &Context, name: &str, access: &Access) -> Result<String> {
    let place = Place::find(&Environment::of_process());
    kubeconfig::merge(&place, &context.paths.cluster_dir(name), name, access)?;
    Ok(place.path.display().to_string())
}

fn unmerge(context: &Context, name: &str) -> Result {
    let directory = context.paths.cluster_dir(name);
    if !directory.exists() {
        return Err(context.no_cluster(name));
    }
    let (changed, errors) = kubeconfig::unmerge(&directory, name);
    for path in &changed {
        context.ui.status(format!(
            "context {} is gone from {}",
            context_name(name),
            path.display()
        ));
    }
    if changed.is_empty() && errors.is_empty() {
        context.ui.status(format!(
            "context {} is in no kubeconfig that vial merged it into",
            context_name(name)
        ));
    }
    match errors.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(Exit::OK),
    }
}

/// As the kubeconfig module wants it.
pub(crate) fn access(access: KubeAccess) -> Access {
    let KubeAccess {
        server,
        ca,
        client_certificate,
        client_key,
    } = access;
    Access {
        server,
        ca,
        certificate: client_certificate,
        key: client_key,
    }
}

/// A kubeconfig's text.
pub(crate) fn yaml(document: &Document) -> Result<String> {
    document.to_yaml().map_err(|reason| {
        Error::new(
            Code::Failed,
            format!("cannot write the kubeconfig: {reason}"),
        )
    })
}
