//! The drivers of nodes, run by the first process of a sandbox.
//!
//! ```text
//! keeper ─ vial_sandbox::NamespaceMaker ─ exec ─► vial-init (init::main)       PID 1 of the sandbox
//!                                                   │ gRPC Init: networks, containers
//!                                                   └ exec ─► vial-container (container::launcher_main)
//!                                                               └ exec ─► vial-agent      PID 1 of a container
//! ```
//! All three are the one static binary; it takes its role from argv\[0\].

pub mod container;
pub mod init;
mod network;
mod reaper;
mod report;
mod root;
