//! Which cluster and namespace a `vial pod` command is about.
//!
//! ```text
//! --context, --kubeconfig ─► that context of the person's kubeconfig, or of that file
//! -c, VIAL_CLUSTER        ─► root: the vial cluster itself; others: its context `vial-NAME`
//! nothing                 ─► the current context; without one the cluster `vial`
//! ```
//! A context may lead to a cluster of this machine: then it is reached directly, without the API.

use std::path::{Path, PathBuf};

use clap::Args;
use kube::config::Kubeconfig;
use vial_cloud::{Cloud, words};
use vial_engine::record::Record;

use crate::commands::kubeconfig::access;
use crate::context::{Context, DEFAULT_CLUSTER, keeper_error};
use crate::error::{Code, Error, Result};
use crate::kubeconfig::{Document, Environment, context_name};

/// The flags.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct PlaceArgs {
    /// A context of your kubeconfig: any Kubernetes [default: the current one]
    #[arg(long, value_name = "NAME", conflicts_with = "cluster")]
    pub(crate) context: Option<String>,
    /// A kubeconfig [default: as for kubectl: $KUBECONFIG, ~/.kube/config]
    #[arg(long, value_name = "FILE", conflicts_with = "cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// A cluster of vial [env: VIAL_CLUSTER]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// The namespace
    #[arg(short, long, value_name = "NAME", default_value = words::NAMESPACE)]
    pub(crate) namespace: String,
}

/// A cluster, and a namespace of it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The cluster.
    pub(crate) cloud: Cloud,
    /// The namespace.
    pub(crate) namespace: String,
    /// Its name, when it is a vial cluster of this machine that we may reach directly.
    pub(crate) cluster: Option<String>,
    /// The kubeconfig's file, when one was named: it has to be named again to come here again.
    pub(crate) kubeconfig: Option<PathBuf>,
}

impl PlaceArgs {
    /// Finds the cluster; nothing is asked of it yet, but for a vial cluster's keeper.
    ///
    /// # Errors
    /// When there is no such context or cluster, or its keys cannot be used.
    pub(crate) async fn find(&self, context: &Context) -> Result<Place> {
        let variable = std::env::var("VIAL_CLUSTER").ok();
        let variable = variable.filter(|name| !name.is_empty());
        let by_context = self.context.is_some() || self.kubeconfig.is_some();
        match self.cluster.clone().or(variable.filter(|_| !by_context)) {
            Some(cluster) if context.root => self.of_cluster(context, &cluster).await,
            Some(cluster) => {
                let name = context_name(&cluster);
                self.of_context(context, Some(&name)).await
            }
            None => self.of_context(context, self.context.as_deref()).await,
        }
    }

    async fn of_context(&self, context: &Context, name: Option<&str>) -> Result<Place> {
        let kubeconfig = read(self.kubeconfig.as_deref())?;
        let current = kubeconfig.current_context.clone();
        let Some(name) = name
            .map(str::to_owned)
            .or(current.filter(|name| !name.is_empty()))
        else {
            if context.root && self.kubeconfig.is_none() {
                return self.of_cluster(context, DEFAULT_CLUSTER).await;
            }
            let error = Error::new(Code::NotFound, "the kubeconfig has no current context");
            return Err(error.hint("name one: `--context NAME`, or `-c CLUSTER`"));
        };
        let cluster = local(context, &kubeconfig, &name);
        Ok(Place {
            cloud: Cloud::connect(kubeconfig, &name).await?,
            namespace: self.namespace.clone(),
            cluster,
            kubeconfig: self.kubeconfig.clone(),
        })
    }

    async fn of_cluster(&self, context: &Context, cluster: &str) -> Result<Place> {
        let client = context.keeper(cluster).await?;
        let keys = client
            .access()
            .await
            .map_err(|error| keeper_error(cluster, error))?;
        let document = Document::standalone(cluster, &access(keys));
        let cannot = "cannot make a kubeconfig";
        let text = document
            .to_yaml()
            .map_err(|why| Error::new(Code::Failed, format!("{cannot}: {why}")))?;
        let kubeconfig =
            Kubeconfig::from_yaml(&text).map_err(|error| Error::caused(cannot, error))?;
        Ok(Place {
            cloud: Cloud::connect(kubeconfig, &context_name(cluster)).await?,
            namespace: self.namespace.clone(),
            cluster: Some(cluster.to_owned()),
            kubeconfig: None,
        })
    }
}

impl Place {
    /// What the cluster is called in names of hosts: `w-1.dev.vial`. That of a vial cluster is its own name, that of
    /// another one its context, as far as letters, digits and `-` can say it.
    pub(crate) fn host_part(&self) -> String {
        match &self.cluster {
            Some(cluster) => cluster.clone(),
            None => host_part(self.cloud.context()),
        }
    }
}

/// A context as a part of a host's name (RFC 1123): `admin@prod` is `admin-prod`.
pub(crate) fn host_part(context: &str) -> String {
    let plain: String = context
        .to_lowercase()
        .chars()
        .map(|letter| match letter.is_ascii_alphanumeric() {
            true => letter,
            false => '-',
        })
        .collect();
    let plain = plain.trim_matches('-');
    match plain.is_empty() {
        true => "context".to_owned(),
        false => plain.to_owned(),
    }
}

/// The person's kubeconfig, its files put together as kubectl does it.
fn read(file: Option<&Path>) -> Result<Kubeconfig> {
    let files = match file {
        Some(file) => vec![file.to_owned()],
        None => Environment::of_process().kubeconfigs(),
    };
    let mut all = Kubeconfig::default();
    for path in files {
        if file.is_none() && !path.exists() {
            continue;
        }
        let cannot = |error| {
            let what = format!("cannot read the kubeconfig {}", path.display());
            let code = match path.exists() {
                true => Code::BadInput,
                false => Code::NotFound,
            };
            Error::caused(what, error).with_code(code)
        };
        let one = Kubeconfig::read_from(&path).map_err(cannot)?;
        all = all.merge(one).map_err(cannot)?;
    }
    Ok(all)
}

/// The vial cluster of this machine that a context leads to, when we may reach it directly.
fn local(context: &Context, kubeconfig: &Kubeconfig, name: &str) -> Option<String> {
    let cluster = name.strip_prefix("vial-").filter(|_| context.root)?;
    vial_spec::names::check_cluster(cluster).ok()?;
    let named = kubeconfig
        .contexts
        .iter()
        .find(|known| known.name == name)?;
    let wanted = &named.context.as_ref()?.cluster;
    let server = kubeconfig
        .clusters
        .iter()
        .find(|known| known.name == *wanted)?
        .cluster
        .as_ref()?
        .server
        .as_deref()?;
    let record = Record::load(&context.paths, cluster).ok()??;
    (server == format!("https://127.0.0.1:{}", record.api_port)).then(|| cluster.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_become_parts_of_host_names() {
        for (context, expected) in [
            ("vial-dev", "vial-dev"),
            ("admin@Prod", "admin-prod"),
            ("arn:aws:eks:eu/x", "arn-aws-eks-eu-x"),
            ("@@", "context"),
        ] {
            assert_eq!(host_part(context), expected);
        }
    }
}
