//! The line and its role, over sockets in place of a machine.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod guest;
mod line;
mod role;
