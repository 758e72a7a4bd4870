//! The service process of one cluster: API socket, supervision, DNS, forwards.
//!
//! ```text
//! vial CLI ──► client ──unix socket──► server ──► Keeper ──► engine ──► sandbox
//!                                                   ├ operation   one up or down at a time, seen by any number of clients
//!                                                   ├ serve::dns, serve::forward   sockets inside ↔ sockets of the host
//!                                                   ├ reach       connections to nodes, Services, Pods
//!                                                   ├ ports       forwarded ports, for the cluster's life
//!                                                   ├ watch       the sandbox's end, containers' ends
//!                                                   └ events      what happened, on disk
//!          ├ events::Reader   the story, read past the keeper
//!          └ inside           the API of a living cluster, read past the keeper
//! ```
//!
//! # States
//! ```text
//! started ─(sandbox lives)─► serving ──(sandbox ends)──► swept ─► exit
//!    │                          ▲  └────(down)─────────► removed ─► exit
//!    └─(no sandbox)─► idle ─(up)┘        idle for 10 s ─► exit
//! ```
//! # Invariants
//! - One keeper a cluster: it holds the cluster's lock from its first to its last moment.
//! - A keeper owns nothing that the cluster needs to go on: it may die at any time, and the next one serves the same ports.

pub mod api;
pub mod client;
mod clusters;
mod connect;
pub mod events;
mod failure;
mod frozen;
mod images;
pub mod inside;
mod keeper;
mod lock;
mod machine;
mod means;
mod nodes;
mod operation;
mod ports;
mod reach;
mod refused;
mod serve;
mod server;
mod status;
mod steadily;
mod up;
mod watch;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

pub use clusters::clusters;
pub use serve::REGISTRY_CACHE_BOUND;
use vial_engine::paths::Paths;

/// Runs a keeper in the foreground until its cluster is gone: `vial-keeper NAME`. Says `ready` or `busy` on stdout.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(name) = args
        .into_iter()
        .nth(1)
        .and_then(|name| name.into_string().ok())
    else {
        return ExitCode::from(2);
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Whoever asks the API says what a refusal means; of one that is not there yet many are expected.
        .with_env_filter(tracing_subscriber::EnvFilter::new(
            "info,hyper=warn,kube=warn,kube_client::client::builder=off,tower=warn",
        ))
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(keeper::run(Paths::from_env(), &name)) {
        Ok(keeper::Outcome::Finished) => ExitCode::SUCCESS,
        Ok(keeper::Outcome::Busy) => {
            say("busy");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(error = %failure::chain(&error), "the keeper ends");
            ExitCode::FAILURE
        }
    }
}

/// One word for whoever started this keeper and waits for it.
fn say(word: &str) {
    let mut stdout = std::io::stdout();
    // Nobody may be listening any more.
    let _ = writeln!(stdout, "{word}").and_then(|()| stdout.flush());
}
