//! How errors of one sandbox are put.

use std::io;

use vial_sys::SysError;

use crate::SandboxError;

pub(crate) fn error(operation: &str, sandbox: &str, source: io::Error) -> SandboxError {
    SandboxError {
        operation: operation.to_owned(),
        sandbox: sandbox.to_owned(),
        source,
    }
}

pub(crate) fn failed(operation: &str, sandbox: &str, cause: SysError) -> SandboxError {
    error(operation, sandbox, to_io(cause))
}

pub(crate) fn to_io(error: SysError) -> io::Error {
    io::Error::new(error.source.kind(), error.line())
}
