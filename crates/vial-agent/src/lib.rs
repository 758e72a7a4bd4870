//! PID 1 of every node: supervises components, executes commands, serves logs and files.
//!
//! The vial binary calls [`main`] when its name is `vial-agent`; the first process of a sandbox starts it so in each
//! container, and a machine's kernel in each machine. It also works as an ordinary process.
//!
//! ```text
//!  keeper, CLI ──gRPC, unix socket──► server ──requests──► supervisor (owns the components)
//!                                      │                     ├ lifecycle: events → actions, pure
//!                                      │                     ├ launch: spec → process        ┐
//!                                      │                     └ probe: asks until ready       ├► reaper ◄── SIGCHLD
//!                                      ├ exec: commands with pipes or a terminal ────────────┘
//!                                      ├ logs: tail and follow      └ rotate: keeps logs small
//!                                      ├ files: atomic writes
//!                                      └ freeze: dumps components and brings them back
//! ```
//!
//! # Invariants
//! - Only the [`reaper`] waits for processes.
//! - Only the supervisor's task knows the state of components; all others ask it.
//! - A component's output never passes through the agent.
//! - Nothing is inherited by accident: every descriptor the agent was started with is close-on-exec.
//!
//! # End
//! SIGTERM and SIGINT stop all components in reverse order, each with its grace; then the agent ends, and as PID 1 takes
//! with it whatever is left. SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are ignored.

mod exec;
mod files;
mod freeze;
mod launch;
mod lifecycle;
mod logs;
mod nearest;
mod probe;
mod proc;
mod reaper;
mod run;
mod server;
mod supervisor;
mod tree;
mod user;
mod wait;

use std::path::Path;
use std::process::ExitCode;

pub use logs::{Chunks as LogChunks, serve_file as serve_log_file};
pub use run::{Ended, RunError};

/// Runs the agent with the arguments of this process: `--socket PATH [--ready-fd NUMBER]`.
///
/// Returns when a signal asked it to end and everything stopped. Errors go to stderr and the code is 1, or 2 when the
/// arguments are wrong.
#[must_use]
pub fn main() -> ExitCode {
    run::main()
}

/// Runs the agent as a part of this program, which must have one thread: serves at `socket` until a signal asks it to
/// end and everything stopped. `beside` is polled meanwhile, for other ways to the socket.
///
/// # Errors
/// When it cannot listen there, or not wait for processes.
pub fn serve(
    socket: &Path,
    beside: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended, RunError> {
    run::at(socket, beside)
}
