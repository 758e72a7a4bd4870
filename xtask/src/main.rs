//! Chores of the workspace, as `cargo xtask CHORE`: what is generated from the code and committed or shipped, and what
//! has to hold before a change is accepted.
//!
//! One module a chore. Deliberately absent: building and releasing, which cargo does.

mod ci;
mod kubeadm;
mod licences;
mod schema;
mod test;
mod vial;

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
    /// Run everything a change has to pass, as the CI machine does
    Ci,
    /// Check licences and sources of dependencies, and that none is yanked
    Licences(licences::Args),
    /// Run all tests, against a node image that is built first
    Test(test::Args),
    /// Write the JSON schema of vial.yaml to docs/vial.schema.json
    Schema(schema::Args),
    /// Build kubeadm from its Go module, to compare vial with it
    Kubeadm(kubeadm::Args),
    /// Write the man pages to target/man
    Man(vial::Args),
    /// Write the completion scripts to target/completions
    Completions(vial::Args),
}

/// Why a chore failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot run {program}")]
    Program {
        program: String,
        source: std::io::Error,
    },
    #[error("{program} failed ({status})")]
    Failed {
        program: String,
        status: std::process::ExitStatus,
    },
    #[error("cannot use {}", path.display())]
    Policy {
        path: PathBuf,
        source: Box<dyn std::error::Error>,
    },
    #[error("cannot read what cargo says of the dependencies")]
    Metadata { source: serde_json::Error },
    #[error("dependencies that deny.toml does not allow:\n  {}", problems.join("\n  "))]
    Licences { problems: Vec<String> },
    #[error("there is no home directory; set VIAL_TEST_HOME")]
    NoHome,
    #[error("cargo built no program `vial`")]
    NoVial,
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
    #[error("cannot build {what}")]
    Build {
        what: &'static str,
        source: vial_image::Error,
    },
    #[error("vial failed: {status}")]
    Vial { status: std::process::ExitStatus },
}

fn main() -> ExitCode {
    let result = match Args::parse().chore {
        Chore::Ci => ci::run(),
        Chore::Licences(args) => licences::run(&args),
        Chore::Test(args) => test::run(&args),
        Chore::Schema(args) => schema::run(&args),
        Chore::Kubeadm(args) => kubeadm::run(&args),
        Chore::Man(args) => vial::man(&args),
        Chore::Completions(args) => vial::completions(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// A line for the person who waits.
#[expect(clippy::print_stderr, reason = "a chore has no Ui")]
fn say(line: &str) {
    eprintln!("{line}");
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
