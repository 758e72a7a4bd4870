//! Why a target cannot be reached, in words for people.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use vial_sandbox::SandboxError;
use vial_spec::target::Target;

/// Why a target cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreachable {
    /// There is no such node, Service, Pod or port.
    #[error("{what}")]
    Unknown {
        /// `svc/default/wbe does not exist`.
        what: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// It is there and cannot be reached in that way, ever.
    #[error("{0}")]
    Unsuitable(String),
    /// It is there, and cannot be reached yet, or not any more.
    #[error("{0}")]
    NotReady(String),
    /// Nobody answers there.
    #[error("cannot connect to {target}: {reason}")]
    Failed {
        /// `w-1:9`.
        target: String,
        /// `connection refused`.
        reason: String,
    },
}

impl Unreachable {
    /// For `map_err` on calls of the Kubernetes API.
    pub(super) fn api(target: &Target) -> impl FnOnce(kube::Error) -> Self {
        let target = target.to_string();
        move |error| Self::Failed {
            target,
            reason: format!("cannot ask the API: {}", crate::failure::chain(&error)),
        }
    }

    /// An address did not take the connection.
    pub(crate) fn dial(target: String, error: &SandboxError) -> Self {
        let reason = match error.source.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
            io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
            io::ErrorKind::NotFound => "its network is not there: is the node up?".to_owned(),
            _ => crate::failure::chain(error.source().unwrap_or(error)),
        };
        Self::Failed { target, reason }
    }

    /// An address did not answer at all.
    pub(super) fn silent(target: String, patience: Duration) -> Self {
        let reason = format!("no answer in {} s", patience.as_secs());
        Self::Failed { target, reason }
    }

    /// There is nothing to dial.
    pub(super) fn without_address(target: String) -> Self {
        Self::NotReady(format!("{target} has no address yet"))
    }

    /// With its hint.
    pub(crate) fn in_one_line(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}; {hint}"),
            None => self.to_string(),
        }
    }

    /// What to do next, when that is known.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Unknown { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }
}
