//! A cluster as pods of vial see it: a client of its API, and what it says of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::watch_object;

use crate::error::{Error, Kind, Result};
use crate::words;

/// A cluster, by a context of a kubeconfig.
#[derive(Clone)]
pub struct Cloud {
    client: kube::Client,
    context: String,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// What a cluster says of itself in the ConfigMap `kube-public/vial`; a cluster that vial did not make says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The image that holds the ssh server, on every node already.
    pub sshd_image: Option<String>,
    /// The image of pods for which none is named.
    pub default_image: Option<String>,
    /// The name of the vial cluster.
    pub cluster: Option<String>,
}

impl Cloud {
    /// A client for `context` of the kubeconfig; nothing is asked of the cluster yet.
    ///
    /// # Errors
    /// When there is no such context, or its keys cannot be used.
    pub async fn connect(kubeconfig: Kubeconfig, context: &str) -> Result<Self> {
        // Several libraries here use rustls; the first one to come chooses for all.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let names: Vec<&str> = kubeconfig
            .contexts
            .iter()
            .map(|named| named.name.as_str())
            .collect();
        if !names.contains(&context) {
            let there = match names.as_slice() {
                [] => "it has no context at all".to_owned(),
                names => format!("there is {}", names.join(", ")),
            };
            let message = format!("the kubeconfig has no context `{context}`");
            return Err(Error::new(Kind::NotFound, message).hinted(there));
        }
        let options = KubeConfigOptions {
            context: Some(context.to_owned()),
            ..KubeConfigOptions::default()
        };
        let cannot = || Error::new(Kind::Failed, format!("cannot use the context `{context}`"));
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| cannot().caused(error))?;
        let client = kube::Client::try_from(config).map_err(|error| cannot().caused(error))?;
        Ok(Self::new(client, context))
    }

    /// With a client that is there already.
    #[must_use]
    pub fn new(client: kube::Client, context: &str) -> Self {
        Self {
            client,
            context: context.to_owned(),
        }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The name of the context.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.context
    }

    /// What the cluster says of itself; nothing when it does not, or when we may not read it.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn facts(&self) -> Result<Facts> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), words::FACTS_NAMESPACE);
        match maps.get_opt(words::FACTS).await {
            Ok(map) => Ok(Facts::of(map.and_then(|map| map.data).unwrap_or_default())),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Facts::default()),
            Err(error) => {
                let what = format!("cannot ask the cluster of context {}", self.context);
                Err(Error::of_api(what, error))
            }
        }
    }

    /// As [`Cloud::facts`], but waits at most so long until the cluster says where its ssh server is.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn await_facts(&self, patience: Duration) -> Result<Facts> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), words::FACTS_NAMESPACE);
        let mut seen = std::pin::pin!(watch_object(maps, words::FACTS));
        let mut end = std::pin::pin!(tokio::time::sleep(patience));
        loop {
            tokio::select! {
                map = seen.next() => match map {
                    Some(Ok(Some(map))) => {
                        let facts = Facts::of(map.data.unwrap_or_default());
                        if facts.sshd_image.is_some() {
                            return Ok(facts);
                        }
                    }
                    Some(Ok(None)) => {}
                    Some(Err(_)) | None => return self.facts().await,
                },
                () = &mut end => return self.facts().await,
            }
        }
    }
}

impl Facts {
    fn of(mut data: BTreeMap<String, String>) -> Self {
        Self {
            sshd_image: data.remove(words::FACT_SSHD_IMAGE),
            default_image: data.remove(words::FACT_DEFAULT_IMAGE),
            cluster: data.remove(words::FACT_CLUSTER),
        }
    }
}
