//! Waiting for the end of a process.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use vial_sys::identity::Process;

/// Resolves when the pidfd gets readable, which is when the process has ended (pidfd_open(2)).
pub(crate) async fn ended(process: &Process) -> io::Result<()> {
    let fd = process.duplicate().map_err(|error| error.source)?;
    #[expect(
        deprecated,
        reason = "an OwnedFd is what it says; the successor is unsafe for the sake of types that lie"
    )]
    let fd: AsyncFd<OwnedFd> = AsyncFd::with_interest(fd, Interest::READABLE)?;
    fd.readable().await?.retain_ready();
    Ok(())
}
