//! Chores of the workspace, as `cargo xtask CHORE`: what is generated from the code and committed or shipped.
//!
//! One module a chore. Deliberately absent: building and testing, which cargo does.

mod schema;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Write the JSON schema of vial.yaml to docs/vial.schema.json
    Schema(schema::Args),
}

/// Why a chore failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {operation} {}", path.display())]
    File {
        operation: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is not what the code says; run: {command}", path.display())]
    Stale {
        path: PathBuf,
        command: &'static str,
    },
}

fn main() -> ExitCode {
    let result = match Args::parse().chore {
        Chore::Schema(args) => schema::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a chore has no Ui")]
fn complain(error: &dyn std::error::Error) {
    eprint!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
}

/// The root of the workspace.
fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}
