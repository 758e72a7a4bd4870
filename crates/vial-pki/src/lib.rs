//! One CA per cluster, certificates of components and nodes, service-account and ssh keys, kubeconfigs.
//!
//! Everything happens in memory: keys go in and out as PEM text, and the caller decides where (and with which
//! permissions) they are stored. The engine calls this when it plans the files of a new cluster, the command line when
//! it writes a kubeconfig.
//!
//! # Invariants
//! - Every private key is fresh from the kernel's random number generator; a certificate's key never leaves with
//!   anything but that certificate.
//! - Nothing with a private key in it shows the key in `{:?}`.
//!
//! Deliberately absent: revocation and renewal (a cluster is disposable; leaves live a year), RSA (slow to make).

mod authority;
mod kubeconfig;
mod service_account;
pub mod ssh;

pub use authority::{Authority, CertificateRequest, KeyPair, San, Usage};
pub use kubeconfig::{Access, kubeconfig};
pub use service_account::ServiceAccountKeys;

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The random number generator or the signing failed.
    #[error("cannot make the certificate of {name:?}")]
    Issue {
        /// The certificate's common name.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A name in the request cannot be written into a certificate.
    #[error("cannot put the name {san:?} into the certificate of {name:?}: it is not ASCII")]
    San {
        /// The certificate's common name.
        name: String,
        /// The name refused.
        san: String,
    },
    /// Kubernetes knows several groups in one certificate, the encoder here does not.
    #[error(
        "cannot make the certificate of {name:?}: it has {count} organizations, at most one is possible"
    )]
    Organizations {
        /// The certificate's common name.
        name: String,
        /// How many were asked for.
        count: usize,
    },
    /// A CA's certificate is not readable, or not one of a CA.
    #[error("cannot read the CA's certificate: {reason}")]
    AuthorityCertificate {
        /// Why.
        reason: String,
    },
    /// A CA's key is not readable.
    #[error("cannot read the CA's key")]
    AuthorityKey {
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// Certificate and key are of different CAs.
    #[error("the CA's key does not belong to its certificate")]
    KeyMismatch,
    /// The service-account key could not be made.
    #[error("cannot make the service-account key")]
    ServiceAccount {
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// An ssh key could not be made.
    #[error("cannot make the ssh key {comment:?}")]
    Ssh {
        /// The key's comment.
        comment: String,
        /// Why.
        #[source]
        source: ssh_key::Error,
    },
}
