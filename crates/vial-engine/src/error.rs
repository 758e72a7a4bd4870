//! What can go wrong while a cluster is made, changed or ended.

use std::path::{Path, PathBuf};

/// The result of an engine operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Something that could not be done to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the cluster.
    #[error("cannot {operation} {path}")]
    File {
        /// `read`, `write`, `remove`, …
        operation: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file of the cluster does not hold what vial wrote.
    #[error("{path} is damaged")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The images that were loaded into the cluster.
    #[error(transparent)]
    Images(#[from] vial_image::load::LoadError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] vial_sandbox::SandboxError),
    /// A certificate or key.
    #[error("cannot make {what}")]
    Pki {
        /// Which certificate.
        what: String,
        /// Why.
        #[source]
        source: vial_pki::Error,
    },
    /// A virtual machine did not come up.
    #[error("the virtual machine of {node} {what}; it said last:\n{said}")]
    Machine {
        /// Of which node.
        node: String,
        /// `ended`, `was silent for 180 s`.
        what: String,
        /// The last lines of QEMU, or of the guest's console.
        said: String,
    },
    /// The host has not the memory that virtual machines ask for.
    #[error(
        "not enough memory for the virtual machines: {asked}, the host has {available} available"
    )]
    Memory {
        /// Of each, and the sum.
        asked: String,
        /// Of the host.
        available: String,
    },
    /// A file of the host that is to be a disk.
    #[error("cannot use {path} as the disk {disk} of {node}")]
    Disk {
        /// Of which node.
        node: String,
        /// Of which name.
        disk: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A sandbox that is a machine needs a program that runs it.
    #[error("node image {image} has no QEMU: no virtual machine can be made of it")]
    NoQemu {
        /// Which.
        image: String,
    },
    /// A node image, or what is made of one.
    #[error(transparent)]
    Image(#[from] vial_image::Error),
    /// The first process of the sandbox or an agent refused.
    #[error("{operation}: {}", status.message())]
    Rpc {
        /// What was tried, with its object.
        operation: String,
        /// The answer; its code tells a missing object from a failed one.
        status: Box<vial_rpc::Status>,
    },
    /// The Kubernetes API refused.
    #[error("{operation}: {reason}")]
    Refused {
        /// What was tried, with its object.
        operation: String,
        /// In the API's own words.
        reason: String,
    },
    /// The Kubernetes API could not be asked.
    #[error("{operation}")]
    Kube {
        /// What was tried, with its object.
        operation: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Something was not there in time.
    #[error("{what} after {seconds} s{detail}")]
    Timeout {
        /// What is not so: `node w-1 is not Ready`.
        what: String,
        /// How long was waited.
        seconds: u64,
        /// What was seen last, with its own separator; may be empty.
        detail: String,
    },
    /// Manifests that cannot be applied.
    #[error("manifest {name}: {reason}")]
    Manifest {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
    /// The sandbox ended while something was done in it.
    #[error("the cluster's sandbox ended")]
    Ended,
    /// A cluster of a kind that is frozen in another way, or not at all.
    #[error("cluster {cluster} cannot be frozen: {why}")]
    NotFreezable {
        /// Which cluster.
        cluster: String,
        /// Why not.
        why: String,
    },
    /// The node without which there is no API is stopped.
    #[error("{node}, the control plane of cluster {cluster}, is stopped")]
    NoControlPlane {
        /// Which cluster.
        cluster: String,
        /// The node.
        node: String,
    },
    /// A template.
    #[error(transparent)]
    Template(#[from] crate::template::TemplateError),
    /// A template that cannot go on here.
    #[error(transparent)]
    Unfit(#[from] crate::template::Unfit),
    /// A change that a living cluster cannot take.
    #[error("cluster {cluster}: {what} cannot be changed while it exists")]
    Unchangeable {
        /// Which cluster.
        cluster: String,
        /// `ipFamily (dual to ipv4)`.
        what: String,
    },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File {
            operation,
            path,
            source,
        }
    }

    /// For `map_err` on gRPC calls.
    pub(crate) fn rpc(operation: impl Into<String>) -> impl FnOnce(vial_rpc::Status) -> Self {
        let operation = operation.into();
        move |status| Self::Rpc {
            operation,
            status: Box::new(status),
        }
    }

    /// For `map_err` on calls of the Kubernetes API.
    pub(crate) fn kube(operation: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let operation = operation.into();
        move |source| match source {
            kube::Error::Api(status) => Self::Refused {
                operation,
                reason: status.message.clone(),
            },
            source => Self::Kube {
                operation,
                source: Box::new(source),
            },
        }
    }

    /// It and its causes, on one line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// The next step for the person, when one is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unchangeable { cluster, .. } => {
                Some(format!("vial down {cluster}, then vial up again"))
            }
            Self::NoControlPlane { cluster, node } => {
                Some(format!("`vial node start {node} -c {cluster}` starts it"))
            }
            Self::Damaged { .. } => {
                Some("vial down removes the cluster; vial up makes it anew".into())
            }
            Self::Images(error) => error.hint(),
            Self::Template(error) => error.hint(),
            Self::NotFreezable { .. } => {
                Some("--sandbox vm makes clusters that are frozen as a whole".into())
            }
            Self::Unfit(_) => {
                Some("--cold starts a cluster from its disks; or freeze one again here".into())
            }
            Self::Memory { .. } => {
                Some("--vm-memory, or `memory` in vial.yaml, asks for less (512Mi at least)".into())
            }
            Self::Disk { .. } => {
                Some("nothing was made; mend the file, or `disks` in vial.yaml".into())
            }
            Self::Image(error) => error.hint(),
            _ => None,
        }
    }
}
