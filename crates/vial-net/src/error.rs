//! The one error of this crate.

use std::io;

/// Something in a network could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct NetError {
    /// What was tried and on what: "add the address 10.89.0.2/24 to eth0".
    pub operation: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl NetError {
    /// The chain on one line.
    pub fn line(&self) -> String {
        format!("{}: {}", self.operation, self.source)
    }
}

impl From<vial_sys::SysError> for NetError {
    fn from(error: vial_sys::SysError) -> Self {
        Self {
            operation: error.operation,
            source: error.source,
        }
    }
}

/// Names the operation that failed.
pub(crate) trait During<T> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, NetError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, NetError> {
        self.map_err(|source| NetError {
            operation: operation(),
            source,
        })
    }
}

impl<T> During<T> for Result<T, rtnetlink::Error> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, NetError> {
        self.map_err(|error| NetError {
            operation: operation(),
            source: match error {
                rtnetlink::Error::NetlinkError(message) => message.to_io(),
                other => io::Error::other(other.to_string()),
            },
        })
    }
}
