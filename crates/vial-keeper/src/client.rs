//! How the command line finds, starts and asks a keeper.

mod daemon;
mod http;

use std::path::PathBuf;

use futures::{Stream, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vial_engine::paths::Paths;
use vial_engine::record::Record;
use vial_spec::target::{Target, TargetPort};

use crate::api::{
    AddPorts, CheckEvent, ClusterStatus, CollectRequest, Event, ImagesRequest, KubeAccess,
    NodeImageStatus, NodesRequest, PortStatus, Refusal, RemovePorts, STREAM, StateRequest,
    ThawRequest, UpRequest,
};
use crate::clusters::lives;

pub(crate) use daemon::elsewhere;
pub use http::Tunnel;

/// Something that could not be asked of a keeper.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The keeper's socket.
    #[error("cannot talk to the keeper of cluster {cluster}")]
    Talk {
        /// Whose keeper.
        cluster: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The keeper could not be started.
    #[error("cannot start the keeper of cluster {cluster}, see {log}")]
    Start {
        /// Whose keeper.
        cluster: String,
        /// Where it says why.
        log: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The keeper refused.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its own words.
        message: String,
        /// The next step, when it knows one.
        hint: Option<String>,
    },
    /// The keeper lives and does not answer, or a new one does not come so far.
    #[error("the keeper of cluster {cluster}{} does not answer, for {seconds} seconds now", pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    Silent {
        /// Whose keeper.
        cluster: String,
        /// Of the keeper, where it is known.
        pid: Option<u32>,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The cluster is kept under another run directory.
    #[error("the keeper of cluster {cluster} (pid {pid}) answers at {}, not below this VIAL_RUN", socket.display())]
    Elsewhere {
        /// Whose keeper.
        cluster: String,
        /// Of the keeper.
        pid: u32,
        /// Where it answers.
        socket: PathBuf,
    },
    /// A keeper that does not answer could not be ended either.
    #[error("cannot end the keeper of cluster {cluster}")]
    End {
        /// Whose keeper.
        cluster: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something on disk.
    #[error(transparent)]
    Engine(vial_engine::Error),
}

/// The line to one keeper. Each request is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    cluster: String,
    socket: PathBuf,
    pid: u32,
}

impl Client {
    /// The keeper that answers at this moment.
    pub async fn connect(paths: &Paths, name: &str) -> Option<Self> {
        let socket = paths.keeper_socket(name);
        let pid = http::peer(&socket).await.ok()?;
        Some(Self {
            cluster: name.to_owned(),
            socket,
            pid,
        })
    }

    /// The keeper of an existing cluster; one that died is started again. `None` when there is no such cluster.
    ///
    /// # Errors
    /// When a keeper cannot be started.
    pub async fn find(paths: &Paths, name: &str) -> Result<Option<Self>, ClientError> {
        if let Some(client) = Self::connect(paths, name).await {
            return Ok(Some(client));
        }
        let exists = paths.cluster_dir(name).is_dir() || lives(paths, name).await?;
        if exists {
            Self::start(paths, name).await.map(Some)
        } else {
            Ok(None)
        }
    }

    /// The cluster's keeper; one is started when there is none, whether or not the cluster exists.
    ///
    /// # Errors
    /// When a keeper cannot be started.
    pub async fn start(paths: &Paths, name: &str) -> Result<Self, ClientError> {
        daemon::start(paths, name).await
    }

    /// Ends the cluster's keeper, however stuck it is: nothing of the cluster needs it, and the next one goes on where it
    /// was. Only a process that signed the cluster's lock is ended, never one that took its pid since.
    ///
    /// # Errors
    /// When it does not end, or the kernel refuses.
    pub async fn end_keeper(paths: &Paths, name: &str) -> Result<(), ClientError> {
        daemon::end(paths, name).await
    }

    /// What the record says of the cluster's specification.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn record(paths: &Paths, name: &str) -> Result<Option<Record>, ClientError> {
        Record::load(paths, name).map_err(ClientError::Engine)
    }

    /// The present state; `None` when the cluster does not exist (any more).
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn status(&self) -> Result<Option<ClusterStatus>, ClientError> {
        match self.get("/v1/status").await {
            Err(ClientError::Refused { status: 404, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Server, authority and the administrator's certificate.
    ///
    /// # Errors
    /// When the cluster does not run.
    pub async fn access(&self) -> Result<KubeAccess, ClientError> {
        self.get("/v1/access").await
    }

    /// Brings the cluster to a state; events until `done` or `failed`.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn up(
        &self,
        request: &UpRequest,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + use<>, ClientError> {
        let body = serde_json::to_vec(request).unwrap_or_default();
        self.post("/v1/up", body).await
    }

    /// Stops, starts, resets, removes or adds nodes; events until `done` or `failed`.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn nodes(
        &self,
        request: &NodesRequest,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + use<>, ClientError> {
        let body = serde_json::to_vec(request).unwrap_or_default();
        self.post("/v1/nodes", body).await
    }

    /// Freezes, stops, pauses or resumes all that runs; events until `done` or `failed`.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn state(
        &self,
        request: &StateRequest,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + use<>, ClientError> {
        let body = serde_json::to_vec(request).unwrap_or_default();
        self.post("/v1/state", body).await
    }

    /// Makes the cluster of a template; events until `done` or `failed`.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn thaw(
        &self,
        request: &ThawRequest,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + use<>, ClientError> {
        let body = serde_json::to_vec(request).unwrap_or_default();
        self.post("/v1/thaw", body).await
    }

    /// Removes the cluster; events until `done` or `failed`. See [`gone`](Self::gone).
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn down(
        &self,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + use<>, ClientError> {
        self.post("/v1/down", Vec::new()).await
    }

    /// Runs all checks; results as they come, then `done`.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn check(
        &self,
    ) -> Result<impl Stream<Item = Result<CheckEvent, ClientError>> + use<>, ClientError> {
        self.post("/v1/check", Vec::new()).await
    }

    /// The forwarded ports.
    ///
    /// # Errors
    /// When the keeper does not answer.
    pub async fn ports(&self) -> Result<Vec<PortStatus>, ClientError> {
        self.get("/v1/ports").await
    }

    /// Forwards more ports; gives all that are there then.
    ///
    /// # Errors
    /// When a port is taken or a target unknown; nothing is changed then.
    pub async fn add_ports(&self, request: &AddPorts) -> Result<Vec<PortStatus>, ClientError> {
        self.ask("POST", "/v1/ports", request).await
    }

    /// Forwards some ports no more; gives those.
    ///
    /// # Errors
    /// When one of them is not there; nothing is changed then.
    pub async fn remove_ports(
        &self,
        request: &RemovePorts,
    ) -> Result<Vec<PortStatus>, ClientError> {
        self.ask("DELETE", "/v1/ports", request).await
    }

    /// A connection to a place in the cluster; see [`crate::api`].
    ///
    /// # Errors
    /// When there is no such place, or nobody answers there.
    pub async fn dial(&self, target: &Target, port: &TargetPort) -> Result<Tunnel, ClientError> {
        // None of the characters of a target has a meaning in a query.
        let path = format!("/v1/connect?target={target}:{port}");
        let tunnel = http::upgrade(&self.socket, &path, STREAM).await;
        tunnel.map_err(|error| self.talk(error))
    }

    /// Removes from the registry what no image needs any more; returns when it serves again.
    ///
    /// # Errors
    /// When the cluster does not run, or the registry does not come back.
    pub async fn collect_garbage(&self, request: CollectRequest) -> Result<(), ClientError> {
        self.ask("POST", "/v1/registry/gc", &request).await
    }

    /// The container images of all nodes.
    ///
    /// # Errors
    /// When the keeper does not answer, or the cluster does not run.
    pub async fn images(&self) -> Result<Vec<NodeImageStatus>, ClientError> {
        self.get("/v1/images").await
    }

    /// Brings images of the cluster's store to its nodes; events until `done` or `failed`.
    ///
    /// # Errors
    /// When the keeper does not answer, or the cluster does not run.
    pub async fn deliver_images(
        &self,
        request: &ImagesRequest,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + use<>, ClientError> {
        let body = serde_json::to_vec(request).unwrap_or_default();
        self.post("/v1/images/deliver", body).await
    }

    /// Takes images from the nodes; events until `done` or `failed`.
    ///
    /// # Errors
    /// When the keeper does not answer, or the cluster does not run.
    pub async fn remove_images(
        &self,
        request: &ImagesRequest,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + use<>, ClientError> {
        let body = serde_json::to_vec(request).unwrap_or_default();
        self.post("/v1/images/remove", body).await
    }

    /// Has every person's ssh know the pods that are there at this moment.
    ///
    /// # Errors
    /// When the keeper does not answer, or the cluster does not run.
    pub async fn refresh_pods(&self) -> Result<(), ClientError> {
        self.ask("POST", "/v1/pods/ssh", &()).await
    }

    /// Resolves when the keeper's process has ended, after a `down`: then nothing of the cluster is left.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn gone(&self) -> Result<(), ClientError> {
        match daemon::ended(self.pid).await {
            true => Ok(()),
            false => Err(self.talk(http::Failed::Silent)),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = http::get(&self.socket, path)
            .await
            .map_err(|error| self.talk(error))?;
        let bytes = body.whole().await.map_err(|error| self.talk(error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.talk(http::Failed::Io(error.into())))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(request).unwrap_or_default();
        let body = http::send(&self.socket, method, path, body).await;
        let body = body.map_err(|error| self.talk(error))?;
        let bytes = body.whole().await.map_err(|error| self.talk(error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.talk(http::Failed::Io(error.into())))
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<impl Stream<Item = Result<T, ClientError>> + use<T>, ClientError> {
        let body = http::post(&self.socket, path, body)
            .await
            .map_err(|error| self.talk(error))?;
        let client = self.clone();
        Ok(body.lines().map(move |line| {
            let line = line.map_err(|error| client.talk(error))?;
            serde_json::from_str(&line).map_err(|error| client.talk(http::Failed::Io(error.into())))
        }))
    }

    fn talk(&self, error: http::Failed) -> ClientError {
        match error {
            http::Failed::Io(source) => ClientError::Talk {
                cluster: self.cluster.clone(),
                source,
            },
            http::Failed::Status(status, message) => {
                let refusal = serde_json::from_str(&message);
                let Refusal { message, hint } = refusal.unwrap_or(Refusal {
                    message,
                    hint: None,
                });
                ClientError::Refused {
                    status,
                    message,
                    hint,
                }
            }
            http::Failed::Silent => ClientError::Silent {
                cluster: self.cluster.clone(),
                pid: Some(self.pid),
                seconds: http::PATIENCE.as_secs(),
            },
        }
    }
}
