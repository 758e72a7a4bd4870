//! One server inside a cluster, the ways to it, and what is measured on each.
//!
//! ```text
//! inside        a socket of node cp-1 ──────────────────────────────────────────┐
//! vial          127.0.0.1:PORT ─ keeper ─ a socket of cp-1 ─────────────────────┤ the Service's address ─► server
//! plain relay   127.0.0.1:PORT ─ this process, read and write ─ the same ───────┘ (kube-proxy)
//! port-forward  127.0.0.1:PORT ─ kubectl ─ kube-apiserver ─ kubelet ─ containerd ────────────────────────► server
//! ```
//! The server is this process, at a socket in the node's network: what is measured is the way.

pub mod measure;
pub mod server;
pub mod ways;

/// Behind the server: a Pod in the node's own network, for the Service and for `kubectl port-forward`.
pub const MANIFEST: &str = "apiVersion: v1
kind: Pod
metadata: {name: race, labels: {app: race}}
spec:
  nodeName: cp-1
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
    - {name: c, image: vial/toolbox, imagePullPolicy: IfNotPresent, command: [sleep, infinity]}
---
apiVersion: v1
kind: Service
metadata: {name: race}
spec: {selector: {app: race}, ports: [{port: 9876}]}
";

/// The server's port in the node's network, and the Service's.
pub const PORT: u16 = 9876;

/// Where the server is.
pub const NODE: &str = "cp-1";
