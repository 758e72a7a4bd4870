//! `cargo xtask test`: all tests, against a real node image.
//!
//! ```text
//! vial node-image build (VIAL_HOME=$VIAL_TEST_HOME) ─► cargo test --workspace --no-fail-fast
//! ```
//! The image is built the first time and taken from its cache afterwards; it lies outside of the work tree, so that a
//! clean clone finds it again. Tests that start clusters take it from there.
//!
//! # Tests that cannot run here
//! Some need root, namespaces or `go`. Such a test prints `skipped, because …` and passes; where [`REQUIRE`] is set it
//! panics instead. It is set here when `CI` is, so that nothing is left out unseen.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Error, root, say};

/// Names the directory that tests have their node image in, as `VIAL_HOME` does for vial.
const HOME: &str = "VIAL_TEST_HOME";
/// Set to `1` where a test that cannot run is a failure.
const REQUIRE: &str = "VIAL_TEST_REQUIRE";

/// Arguments of the chore.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave the node image as it is: tests that need one fail, or are skipped, when there is none
    #[arg(long)]
    no_image: bool,
    /// For `cargo test` instead of `--workspace`: `-p vial-spec`, a test's name, `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let home = home()?;
    if !args.no_image {
        say(&format!("the node image for tests, in {}", home.display()));
        let mut build = Command::new(build_vial()?);
        run_program(
            "vial node-image build",
            build.args(["node-image", "build"]).env("VIAL_HOME", &home),
        )?;
    }
    let mut test = cargo();
    test.args(["test", "--no-fail-fast"]).env(HOME, &home);
    // A person's own choice of a cluster stands in every help text as the default.
    test.env_remove("VIAL_CLUSTER");
    if args.arguments.is_empty() {
        test.arg("--workspace");
    }
    test.args(&args.arguments);
    if is_set("CI") {
        test.env(REQUIRE, "1");
    }
    // Nothing is said after this: the last lines are the test runner's.
    run_program("cargo test", &mut test)
}

/// Builds the `vial` that the tests will run, and the tests with it: built alone, its dependencies would have other
/// features, and would all be built a second time for the tests.
fn build_vial() -> Result<PathBuf, Error> {
    let program = "cargo build";
    let mut build = cargo();
    build.args([
        "build",
        "--workspace",
        "--all-targets",
        "--message-format=json-render-diagnostics",
    ]);
    let output = build.stderr(Stdio::inherit()).output();
    let output = output.map_err(|source| Error::Program {
        program: program.into(),
        source,
    })?;
    if !output.status.success() {
        return Err(Error::Failed {
            program: program.into(),
            status: output.status,
        });
    }
    executable(&output.stdout).ok_or(Error::NoVial)
}

/// Where cargo's messages say that the program `vial` is.
fn executable(messages: &[u8]) -> Option<PathBuf> {
    let messages = messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    messages
        .filter(|message| {
            message["target"]["name"] == "vial" && message["target"]["kind"][0] == "bin"
        })
        .find_map(|message| {
            message["executable"]
                .as_str()
                .map(PathBuf::from)
                .filter(|_| message["profile"]["test"] == false)
        })
}

/// `$VIAL_TEST_HOME`, or `~/.cache/vial-test`.
pub(crate) fn home() -> Result<PathBuf, Error> {
    let given = std::env::var_os(HOME)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let home = given
        .or_else(|| Some(std::env::home_dir()?.join(".cache/vial-test")))
        .ok_or(Error::NoHome)?;
    // Tests run in the directories of their crates.
    std::path::absolute(&home).map_err(|source| Error::File {
        operation: "find",
        path: home,
        source,
    })
}

/// CI systems say `CI=true`; a person may say `CI=0`.
fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn run_program(name: &str, command: &mut Command) -> Result<(), Error> {
    let status = command.status().map_err(|source| Error::Program {
        program: name.into(),
        source,
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Failed {
            program: name.into(),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_program_among_what_was_built() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"vial"},"profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"vial"},"profile":{"test":true},"executable":"/t/deps/vial-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"vial"},"profile":{"test":false},"executable":"/t/vial"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n",
        );
        assert_eq!(executable(messages.as_bytes()), Some("/t/vial".into()));
        assert_eq!(executable(b""), None);
    }
}
