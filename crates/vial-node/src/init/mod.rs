//! The first process of a sandbox.
//!
//! # Lifecycle
//! ```text
//! stage 1 (exec'ed by the maker, in the host's namespaces)
//!   │ fork into a new pid namespace
//!   ├ parent: writes the pid file, opens the gate, tells the pid, exits
//!   └ child: waits at the gate ─► own namespaces, cgroup, root ─► serves Init ─► killed
//! ```
//! The gate is a pipe: when the parent dies before the pid file is written, the child sees its end and exits, so no
//! sandbox ever lives that nobody can find. From the gate on the child depends on nobody, and all inside depends on it:
//! with it, the kernel ends the pid namespace, and with that the mounts and networks.
//!
//! # On failure
//! The maker is told why and removes the cgroup and the pid file; all else is the kernel's.

mod remove;
mod root;
mod serve;
mod service;
mod spec;
mod stage;

use std::process::ExitCode;

pub use crate::report::Report;
pub(crate) use service::unix_ms;
pub use spec::{CGROUP_PARENT, InitSpec, PID_FILE, SOCKET};

/// Serves Init as PID 1 of a machine that is a sandbox, where everything is in its place; `ready` is called once it is
/// served, `beside` is polled meanwhile. Returns only with an error.
///
/// # Errors
/// When it cannot wait for processes, or not serve.
pub fn serve(
    ready: impl FnOnce(),
    beside: impl Future<Output = ()> + Send + 'static,
) -> Result<(), vial_sys::SysError> {
    serve::run(ready, beside)
}

/// The role `vial-init`: takes an [`InitSpec`] as JSON on stdin and tells [`Report`]s on stdout.
pub fn main() -> ExitCode {
    stage::run()
}
