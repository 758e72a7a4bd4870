//! What is spoken on a keeper's socket: HTTP/1.1 with JSON over the unix socket `/run/vial/NAME/keeper.sock`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`ClusterStatus`] |
//! | `POST /v1/up` with [`UpRequest`] | a stream of [`Event`], one JSON object a line, closed by `done` or `failed` |
//! | `POST /v1/down` | the same |
//! | `POST /v1/nodes` with [`NodesRequest`] | the same |
//! | `POST /v1/state` with [`StateRequest`] | the same |
//! | `POST /v1/thaw` with [`ThawRequest`] | the same |
//! | `GET /v1/images` | a list of [`NodeImageStatus`] |
//! | `POST /v1/images/deliver` with [`ImagesRequest`] | a stream of [`Event`]: images of the cluster's store come to its nodes |
//! | `POST /v1/images/remove` with [`ImagesRequest`] | the same: they go from the nodes |
//! | `POST /v1/check` | a stream of [`CheckEvent`] |
//! | `GET /v1/ports` | a list of [`PortStatus`] |
//! | `POST /v1/ports` with [`AddPorts`] | those that are there then |
//! | `DELETE /v1/ports` with [`RemovePorts`] | those that were removed |
//! | `POST /v1/registry/gc` with [`CollectRequest`] | nothing, once it is done |
//! | `POST /v1/pods/ssh` | `null`, once every person's ssh knows the pods that are there now |
//! | `GET /v1/connect?target=HOST:PORT` with `Upgrade: vial-stream` | `101`, then a connection to that place of the cluster: bytes both ways, each way ended by itself |
//!
//! A request that cannot be answered gets a 4xx or 5xx: with JSON ([`Refusal`]) or plain words.
//!
//! An operation belongs to the keeper, not to the connection: a client that goes away does not stop it. In a stream that
//! has nothing to tell an empty line comes every [`BEAT`], so that a client knows a busy keeper from a stuck one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vial_image::load::ImageName;
use vial_spec::port::PortForward;
use vial_spec::{ClusterSpec, Driver};

pub use vial_engine::images::{ImageSource, NodeImageStatus};

/// What a connection into the cluster is called in the header `Upgrade`.
pub const STREAM: &str = "vial-stream";

/// Why a request is refused, as JSON beside the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// For people: `cluster dev has no node "w1"`.
    pub message: String,
    /// The next step, when one is known: `did you mean "w-1"?`.
    pub hint: Option<String>,
}

/// How long a stream is silent at most.
pub const BEAT: Duration = Duration::from_secs(1);

/// Bring the cluster to this state: create, change or start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpRequest {
    /// The wanted state.
    pub spec: ClusterSpec,
    /// Where it starts from.
    #[serde(default)]
    pub start: Start,
}

/// Where a cluster that does not run starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Start {
    /// What it was frozen to; a new one from a pristine template of its shape; else from its disks.
    #[default]
    Quickest,
    /// As the quickest, but a new one has keys that no other cluster has: not from a template.
    FreshKeys,
    /// From its disks, whatever it was frozen to.
    Cold,
}

/// Something is to become of single nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "action",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum NodesRequest {
    /// They end, and stay so until they are started.
    Stop {
        /// Which.
        nodes: Vec<String>,
        /// Nothing of them is asked to end: the plug is pulled.
        hard: bool,
    },
    /// Those that are stopped run again.
    Start {
        /// Which.
        nodes: Vec<String>,
    },
    /// They begin anew, with fresh disks.
    Reset {
        /// Which.
        nodes: Vec<String>,
    },
    /// They go, with all that belongs to them.
    Remove {
        /// Which.
        nodes: Vec<String>,
    },
    /// More workers come.
    Add {
        /// How many.
        count: u32,
        /// How they are made.
        driver: Driver,
        /// A worker that they take after, instead.
        like: Option<String>,
    },
}

/// Something is to become of all that runs in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "action",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum StateRequest {
    /// It is frozen to a template.
    Freeze {
        /// Its name.
        template: String,
        /// It may take the place of another one.
        replace: bool,
        /// The cluster does not go on: it is stopped, as by [`Stop`](Self::Stop).
        stop: bool,
    },
    /// It is frozen in its place, and ends: the next `up` has it go on.
    Stop,
    /// It halts, and keeps its memory.
    Pause,
    /// It goes on after a pause.
    Resume,
}

/// Make the cluster, which is not there yet, of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThawRequest {
    /// Its name.
    pub template: String,
    /// Start it from its disks: its processes are left behind.
    pub cold: bool,
}

/// Remove from the registry what no image needs any more.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectRequest {
    /// Images that no tag names, too.
    pub untagged: bool,
}

/// Container images, by their names.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagesRequest {
    /// Their full names.
    pub names: Vec<ImageName>,
}

/// Progress of an operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// A step began.
    Started {
        /// Unique within the operation: `w-1/kubelet`.
        id: String,
        /// For people: `start kubelet`.
        title: String,
        /// Which node it concerns.
        node: Option<String>,
        /// Microseconds since the operation began.
        at_us: u64,
    },
    /// A step ended well.
    Finished {
        /// As in `Started`.
        id: String,
        /// Microseconds since the operation began.
        at_us: u64,
    },
    /// Something to tell the person: `restarted kube-scheduler on cp-1: its flags changed`.
    Note {
        /// One line.
        text: String,
    },
    /// An image's name was taken from nodes.
    Removed {
        /// Its full name.
        name: String,
        /// How many nodes had it.
        nodes: usize,
    },
    /// The operation ended well; the last line.
    Done {
        /// What is there now (`None` after a down).
        status: Option<Box<ClusterStatus>>,
    },
    /// The operation failed; the last line.
    Failed {
        /// What happened, causes after colons.
        message: String,
        /// The next step, when one is known.
        hint: Option<String>,
        /// The exit code of the command line.
        code: u8,
    },
}

/// The state of a whole cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// An `up` is at work, or was interrupted.
    Creating,
    /// The sandbox lives and every component is ready.
    Running,
    /// The sandbox lives; a component or a node is not ready.
    Degraded,
    /// Its disks are there, its sandbox is not: `vial up NAME` starts it again.
    Stopped,
    /// As stopped, but all that ran in it is kept on disk: `vial start NAME` has it go on.
    Frozen,
    /// It is halted, and keeps its memory: `vial resume NAME` has it go on.
    Paused,
    /// A `down` is at work, or was interrupted.
    Deleting,
    /// What is remembered of it cannot be read: only `vial down NAME` is sure to work.
    Damaged,
    /// Its keeper lives and does not answer.
    Unknown,
}

/// What `vial status -o json` prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Changes with every creation.
    pub uid: String,
    /// Its state.
    pub phase: Phase,
    /// Why it is so, where that is known and is no good news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// RFC 3339.
    pub created: String,
    /// `vial/node:v1.36.3`.
    pub node_image: String,
    /// Digest of the node image.
    pub node_image_digest: String,
    /// `v1.36.3`.
    pub kubernetes: String,
    /// `https://127.0.0.1:PORT`, the same for the cluster's life.
    pub api: String,
    /// Pid of the keeper; `None` when none runs.
    pub keeper_pid: Option<u32>,
    /// Pid on the host of the sandbox's first process.
    pub sandbox_pid: Option<u32>,
    /// Control plane first.
    pub nodes: Vec<NodeStatus>,
    /// Where images are pushed.
    pub registry: RegistryStatus,
    /// What is forwarded to the host.
    pub endpoints: Vec<Endpoint>,
}

/// One node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// `w-1`.
    pub name: String,
    /// `control-plane` or `worker`.
    pub role: String,
    /// `container` or `vm`.
    pub driver: String,
    /// It was stopped by command, and stays so until it is started by command.
    #[serde(default)]
    pub stopped: bool,
    /// Of a virtual machine: how it ended by itself the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<MachineEnd>,
    /// The Node object's Ready condition: `True`, `False`, `Unknown`; `None` while the API does not say.
    pub ready: Option<String>,
    /// On the management network.
    pub addresses: Vec<String>,
    /// Pods' addresses on this node.
    pub pod_cidrs: Vec<String>,
    /// What runs on it.
    pub components: Vec<ComponentStatus>,
}

/// A virtual machine ended by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineEnd {
    /// RFC 3339.
    pub time: String,
    /// With the last lines of its console.
    pub message: String,
}

/// The cluster's registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatus {
    /// `127.0.0.1:PORT`, the same for the cluster's life: its name on the host, and for containerd on every node.
    pub host: String,
    /// `registry.vial:5000`: its name on nodes and in pods.
    pub inside: String,
    /// What runs; `None` while the cluster is stopped.
    pub component: Option<ComponentStatus>,
}

/// One supervised program.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// `kubelet`.
    pub name: String,
    /// The process container that it runs in: `w-1.node`.
    #[serde(default)]
    pub container: String,
    /// `waiting`, `starting`, `ready`, `backoff`, `stopping`, `stopped`, `unknown`.
    pub state: String,
    /// In the node's own pid namespace.
    pub pid: Option<i32>,
    /// Crashes so far.
    pub restarts: u32,
    /// RFC 3339, of the present state.
    pub since: String,
    /// Why it waits or fails.
    pub message: String,
}

/// Something of the sandbox that the host can reach.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `api`.
    pub name: String,
    /// `127.0.0.1:45671`.
    pub host: String,
    /// `10.89.0.11:6443`, `svc/default/web:80`.
    pub target: String,
    /// Why it cannot be used at this moment; empty when it can.
    #[serde(default)]
    pub message: String,
}

/// Forward more ports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddPorts {
    /// Which.
    pub ports: Vec<PortForward>,
    /// Also to what is not there yet.
    pub allow_missing: bool,
}

/// Forward some ports no more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemovePorts {
    /// `8080`, `127.0.0.1:8080`, or as they are shown: `8080:svc/default/web:80`.
    pub ports: Vec<String>,
}

/// A forwarded port and how it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortStatus {
    /// As a person writes it, with the port that was chosen: `8080:svc/default/web:80`.
    pub spec: String,
    /// `127.0.0.1:8080`.
    pub host: String,
    /// `svc/default/web:80`.
    pub target: String,
    /// How it does.
    pub state: PortState,
    /// Why it cannot be used at this moment; empty when it can.
    pub message: String,
    /// Connections at this moment.
    pub connections: usize,
}

/// How a forwarded port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// It is listened at, and its target is there.
    Open,
    /// It is listened at, and its target is not there (yet, or any more).
    Waiting,
    /// Another program has taken it.
    Taken,
    /// The cluster does not run.
    Stopped,
}

/// Progress of `vial check`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum CheckEvent {
    /// One check ended.
    Result(CheckResult),
    /// All did; the last line.
    Done {
        /// Every check passed.
        passed: bool,
    },
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// `dns`, `node-ready`, `system-pods`, `service`.
    pub check: String,
    /// On which node or of which object.
    pub object: String,
    /// Did it pass.
    pub passed: bool,
    /// What was seen; when it failed, why and where to look.
    pub detail: String,
    /// How long it took.
    pub millis: u64,
}

/// A cluster's kubeconfig material, for `vial kubeconfig` and the merge.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeAccess {
    /// `https://127.0.0.1:PORT`.
    pub server: String,
    /// PEM.
    pub ca: String,
    /// PEM.
    pub client_certificate: String,
    /// PEM.
    pub client_key: String,
}
