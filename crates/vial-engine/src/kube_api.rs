//! The cluster's API as the engine uses it: a client, applying manifests, Node objects.

mod alive;
mod apply;
mod nodes;
mod serving;

use kube::config::{KubeConfigOptions, Kubeconfig};

pub use alive::{wait_dns_runs, wait_node_reports};
pub use apply::apply;
pub use nodes::ready;
pub use nodes::{delete_node, ensure_node, wait_node_ready};
pub use serving::wait_serving;

use crate::{Error, Result};

/// A client for the kubeconfig text.
///
/// # Errors
/// When the text is no kubeconfig or its keys cannot be used.
pub async fn client(kubeconfig: &str) -> Result<kube::Client> {
    let operation = "cannot make a client of the API";
    // Several libraries here use rustls; the first one to come chooses for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)
        .map_err(|source| Error::kube(operation)(kube::Error::InferKubeconfig(source)))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|source| Error::kube(operation)(kube::Error::InferKubeconfig(source)))?;
    kube::Client::try_from(config).map_err(Error::kube(operation))
}
