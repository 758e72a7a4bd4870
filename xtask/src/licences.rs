//! `cargo xtask licences`: may vial depend on what it depends on?
//!
//! ```text
//! deny.toml ─► Policy ──────────────────────┐
//! cargo metadata ─► packages ───────────────┼─► problems (pure) ─► none, or an error that lists them
//! cargo's copy of the index ─► yanked ──────┘
//! ```
//! The same file tells `cargo deny`, so both agree; this one needs nothing but cargo and what it has fetched already.
//!
//! Deliberately absent: security advisories. Their database is a git repository on github.com and in no registry;
//! `cargo deny check advisories` reads it where it can be reached (`.ci/run` does so). A version that is yanked
//! because of one is found here.

mod index;
mod policy;

use std::process::{Command, Stdio};

use serde_json::Value;

use self::index::Standing;
use self::policy::Policy;
use crate::{Error, root, say};

/// Arguments of the chore.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ask the registry anew which versions are yanked
    #[arg(long)]
    refresh: bool,
}

/// A package of the dependency graph.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    /// An SPDX expression.
    license: Option<String>,
    /// `registry+https://…`, `git+https://…`; `None` for a path.
    source: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Error> {
    let path = root().join("deny.toml");
    let text = std::fs::read_to_string(&path).map_err(|source| Error::File {
        operation: "read",
        path: path.clone(),
        source,
    })?;
    let policy = Policy::parse(&text).map_err(|source| Error::Policy {
        path,
        source: Box::new(source),
    })?;
    if args.refresh {
        refresh();
    }
    let packages = packages(&policy)?;
    let registry: Vec<&Package> = packages
        .iter()
        .filter(|package| package.source.is_some())
        .collect();
    let mut problems: Vec<String> = packages
        .iter()
        .flat_map(|package| policy.problems(package))
        .collect();
    let (cargo_home, mut unknown) = (index::cargo_home(), 0);
    for package in &registry {
        match index::standing(&cargo_home, &package.name, &package.version) {
            Standing::Good => {}
            Standing::Yanked => problems.push(format!(
                "{} {} is yanked; run: cargo update {}",
                package.name, package.version, package.name
            )),
            Standing::Unknown => unknown += 1,
        }
    }
    if !problems.is_empty() {
        return Err(Error::Licences { problems });
    }
    say(&format!(
        "{} dependencies: licences and sources are as deny.toml says, none is yanked",
        registry.len()
    ));
    if unknown > 0 {
        say(&format!(
            "{unknown} of them are not in cargo's copy of the index: whether they are yanked is not known; --refresh asks"
        ));
    }
    Ok(())
}

/// Lets cargo fetch the index again; a dry run changes no lock file. Without a network, what is there has to do.
fn refresh() {
    let mut cargo = cargo();
    cargo
        .args(["update", "--dry-run", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if !cargo.status().is_ok_and(|status| status.success()) {
        say(
            "the registry does not answer: yanked versions are those that cargo knew of when it last asked",
        );
    }
}

/// Everything that is in the build for the policy's targets, tests and build scripts included.
fn packages(policy: &Policy) -> Result<Vec<Package>, Error> {
    let mut cargo = cargo();
    cargo.args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--all-features",
    ]);
    for target in &policy.targets {
        cargo.args(["--filter-platform", target]);
    }
    let output = cargo.stderr(Stdio::inherit()).output();
    let output = output.map_err(|source| Error::Program {
        program: "cargo metadata".into(),
        source,
    })?;
    if !output.status.success() {
        return Err(Error::Failed {
            program: "cargo metadata".into(),
            status: output.status,
        });
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|source| Error::Metadata { source })?;
    let text = |package: &Value, field: &str| package[field].as_str().map(str::to_owned);
    let packages = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|package| Package {
            name: text(package, "name").unwrap_or_default(),
            version: text(package, "version").unwrap_or_default(),
            license: text(package, "license"),
            source: text(package, "source"),
        });
    Ok(packages.collect())
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_policy_accepts_every_dependency() {
        let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
        let policy = Policy::parse(&text).unwrap();
        let packages = packages(&policy).unwrap();
        assert!(
            packages.iter().any(|package| package.name == "tokio"),
            "the graph is empty"
        );
        let problems: Vec<_> = packages
            .iter()
            .flat_map(|package| policy.problems(package))
            .collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}
