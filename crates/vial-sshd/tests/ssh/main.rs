//! The server as people meet it: real servers on loopback, and OpenSSH's own ssh, scp, sftp and agent.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod commands;
mod container;
mod files;
mod forwards;
mod lab;
mod limits;
mod logins;
mod means;
mod pods;
mod streams;
mod terminals;
