//! The one error of this crate: what was tried, on what, and why the kernel refused.

use std::io;

/// A kernel interface refused something.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct SysError {
    /// What was tried and on what: "mount tmpfs on /run".
    pub operation: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl SysError {
    /// An error of our own making, without a system call behind it.
    pub fn other(operation: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            operation: operation.into(),
            source: io::Error::other(why.into()),
        }
    }

    /// The whole chain on one line, for places where only a text can go: "mount tmpfs on /run: Permission denied".
    pub fn line(&self) -> String {
        format!("{}: {}", self.operation, self.source)
    }
}

/// Names the operation that a failed system call was part of.
pub trait During<T> {
    /// Turns the error into a [`SysError`] that says what was tried.
    ///
    /// # Errors
    /// Those of `self`.
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, SysError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, operation: impl FnOnce() -> String) -> Result<T, SysError> {
        self.map_err(|source| SysError {
            operation: operation(),
            source: source.into(),
        })
    }
}

/// An error with all its causes, on one line: for logs, and for where only a text can go.
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
