//! Process containers: one PID 1 with its own pid, mount, uts, ipc and cgroup namespaces, in the network namespace of
//! its node.
//!
//! # Lifecycle
//! ```text
//! start: clones ─► launcher ─ fork ─► child: cgroup, namespaces, root ─► exec vial-agent ─► ready
//!                     └ tells its pid, waits for init's word, opens the child's gate, exits
//! running ─► PID 1 ends (by itself, killed, or by stop) ─► cgroup removed ─► ended
//! ```
//! [`Containers`] (in the first process) owns every transition. The kernel removes mounts and processes with PID 1;
//! the cgroup is removed by the task that waits for it, on every path.

mod containers;
mod hold;
mod launch;
mod launcher;
mod root;
mod spec;
mod tunables;

use std::process::ExitCode;

pub(crate) use containers::Containers;
pub(crate) use hold::hold;

/// The role `vial-container`: takes a launch spec as one line of JSON on stdin.
pub fn launcher_main() -> ExitCode {
    launcher::run()
}
