//! The agent as a process of its own, spoken to as the keeper and the command line do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod components;
mod exec;
mod first_process;
mod freeze;
mod lab;
mod logs;
mod probes;
