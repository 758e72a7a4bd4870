//! The API of a living cluster, read past its keeper: for those who want to know why a keeper does not answer.
//!
//! The sandbox is found as a keeper finds it, the connection is dialled into it, and the administrator's certificate is
//! read from the cluster's directory. Nothing is started and nothing changed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use vial_engine::execute::sandbox_spec;
use vial_engine::paths::Paths;
use vial_engine::plan::ADMIN;
use vial_engine::record::Record;
use vial_sandbox::{AnyMaker, Maker as _, Network, Sandbox};

/// Where kube-apiserver listens.
const PORT: u16 = 6443;
/// As much as this of a list comes at once.
const PAGE: u32 = 500;

/// Why the API cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// No sandbox lives.
    #[error("the cluster {0} does not run")]
    Stopped(String),
    /// The sandbox cannot be found, though it may live.
    #[error("cannot find the sandbox of cluster {cluster}")]
    Sandbox {
        /// Whose.
        cluster: String,
        /// Why.
        #[source]
        source: vial_sandbox::SandboxError,
    },
    /// The keys, or what was made of them.
    #[error("cannot use the keys of cluster {cluster}")]
    Keys {
        /// Whose.
        cluster: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// A request.
    #[error("cannot get {path} of the API")]
    Get {
        /// What was asked for.
        path: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Reads objects as an administrator.
#[derive(Clone)]
pub struct Inside {
    client: kube::Client,
}

/// How lists are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Whole objects.
    Whole,
    /// Only their metadata: the server sends nothing else.
    Metadata,
}

impl Inside {
    /// The API of a cluster that runs.
    ///
    /// # Errors
    /// When it does not run, or its keys cannot be read.
    pub async fn find(paths: &Paths, record: &Record) -> Result<Self, InsideError> {
        let cluster = || record.name.clone();
        let found = AnyMaker.find(&sandbox_spec(paths, &record.name)).await;
        let sandbox = found.map_err(|source| InsideError::Sandbox {
            cluster: cluster(),
            source,
        })?;
        let sandbox: Arc<dyn Sandbox> = sandbox
            .ok_or_else(|| InsideError::Stopped(cluster()))?
            .into();
        let address = record.spec.control_plane().and_then(|node| {
            let addresses = node.addresses(record.spec.network.ip_family);
            addresses.first().copied()
        });
        let address = address.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let client = client(paths, record, sandbox, (address, PORT).into()).await;
        client
            .map(|client| Self { client })
            .map_err(|source| InsideError::Keys {
                cluster: cluster(),
                source,
            })
    }

    /// What is at a path, as JSON.
    ///
    /// # Errors
    /// When the API does not answer, or refuses.
    pub async fn get(&self, path: &str, detail: Detail) -> Result<Value, InsideError> {
        let accept = match detail {
            Detail::Whole => "application/json",
            Detail::Metadata => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        };
        let request = Request::get(path).header("accept", accept).body(Vec::new());
        let failed = |source| InsideError::Get {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let request = request.map_err(|error| failed(kube::Error::HttpError(error)))?;
        self.client.request(request).await.map_err(failed)
    }

    /// Paths of all kinds of objects that can be listed, in their preferred versions: `/api/v1/pods`,
    /// `/apis/apps/v1/deployments`.
    ///
    /// # Errors
    /// When the API does not answer. A group that does not is left out, and told in the second list.
    pub async fn kinds(&self) -> Result<(Vec<String>, Vec<InsideError>), InsideError> {
        let groups = self.get("/apis", Detail::Whole).await?;
        let groups = groups["groups"].as_array().into_iter().flatten();
        let versions =
            groups.filter_map(|group| group["preferredVersion"]["groupVersion"].as_str());
        let versions = versions.map(|version| format!("/apis/{version}"));
        let (mut kinds, mut failed) = (Vec::new(), Vec::new());
        for version in std::iter::once("/api/v1".to_owned()).chain(versions) {
            let list = match self.get(&version, Detail::Whole).await {
                Ok(list) => list,
                Err(error) => {
                    failed.push(error);
                    continue;
                }
            };
            let resources = list["resources"].as_array().into_iter().flatten();
            let listed = resources.filter(|kind| {
                let verbs = kind["verbs"].as_array().into_iter().flatten();
                verbs.into_iter().any(|verb| verb == "list")
            });
            let names = listed.filter_map(|kind| kind["name"].as_str());
            kinds.extend(names.map(|name| format!("{version}/{name}")));
        }
        Ok((kinds, failed))
    }

    /// All objects at a path of [`kinds`](Self::kinds), or at most `most` of them.
    ///
    /// # Errors
    /// When the API does not answer, or refuses.
    pub async fn list(
        &self,
        path: &str,
        detail: Detail,
        most: usize,
    ) -> Result<Value, InsideError> {
        let mut whole = self.get(&format!("{path}?limit={PAGE}"), detail).await?;
        loop {
            let rest = whole["metadata"]["continue"].as_str().unwrap_or_default();
            let have = whole["items"].as_array().map_or(0, Vec::len);
            if rest.is_empty() || have >= most {
                return Ok(whole);
            }
            let next = format!("{path}?limit={PAGE}&continue={rest}");
            let mut next = self.get(&next, detail).await?;
            whole["metadata"] = next["metadata"].take();
            if let (Some(items), Some(more)) =
                (whole["items"].as_array_mut(), next["items"].as_array_mut())
            {
                items.append(more);
            }
        }
    }
}

async fn client(
    paths: &Paths,
    record: &Record,
    sandbox: Arc<dyn Sandbox>,
    address: SocketAddr,
) -> Result<kube::Client, kube::Error> {
    // Several libraries here use rustls; the first one to come chooses for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pki = paths.cluster_dir(&record.name).join("pki");
    let leaf = |kind| pki.join("leaves").join(ADMIN).with_extension(kind);
    let text = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "inside",
        "contexts": [{"name": "inside", "context": {"cluster": "inside", "user": "inside"}}],
        "clusters": [{"name": "inside", "cluster": {
            "server": format!("https://{address}"), "certificate-authority": pki.join("ca.crt"),
        }}],
        "users": [{"name": "inside", "user": {
            "client-certificate": leaf("crt"), "client-key": leaf("key"),
        }}],
    });
    let kubeconfig =
        Kubeconfig::from_yaml(&text.to_string()).map_err(kube::Error::InferKubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(kube::Error::InferKubeconfig)?;
    let dial = tower::service_fn(move |_: Uri| {
        let sandbox = Arc::clone(&sandbox);
        async move {
            let stream = sandbox.dial(Network::Management, address).await;
            stream.map(TokioIo::new)
        }
    });
    let connector = config.rustls_https_connector_with_connector(dial)?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let service = tower::ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .service(http);
    Ok(kube::Client::new(service, "default"))
}
