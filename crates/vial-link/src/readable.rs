//! Descriptors that tokio has no type for, waited for until they are readable.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// To be called in a runtime.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "an OwnedFd is what it says; the successor is unsafe for the sake of types that lie"
    )]
    AsyncFd::with_interest(fd, Interest::READABLE)
}
