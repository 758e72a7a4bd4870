//! The one error: what was tried on what, and why it failed, on one line.

use std::fmt;
use std::io;

/// Something a machine cannot start without could not be done.
#[derive(Debug)]
pub(crate) struct Error {
    operation: String,
    source: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.operation, self.source)
    }
}

impl Error {
    pub(crate) fn new(operation: impl Into<String>, why: impl Into<io::Error>) -> Self {
        Self {
            operation: operation.into(),
            source: why.into(),
        }
    }
}

/// Names the operation that failed.
pub(crate) trait During<T> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::new(operation(), source))
    }
}
