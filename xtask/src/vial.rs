//! Man pages and completion scripts: written by the `vial` binary, which alone knows its grammar.
//!
//! Built by the same cargo that runs this chore, so that nothing stale is shipped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// Where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory; made when missing
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Writes `vial.1`, `vial-up.1`, …
pub(crate) fn man(args: &Args) -> Result<(), Error> {
    let directory = directory(args, "target/man");
    run(&["man".as_ref(), directory.as_os_str()], Stdio::inherit())
}

/// Writes a completion script for each shell, under the name its shell looks for.
pub(crate) fn completions(args: &Args) -> Result<(), Error> {
    let directory = directory(args, "target/completions");
    std::fs::create_dir_all(&directory).map_err(|source| Error::File {
        operation: "make",
        path: directory.clone(),
        source,
    })?;
    for (shell, file) in [
        ("bash", "vial"),
        ("zsh", "_vial"),
        ("fish", "vial.fish"),
        ("elvish", "vial.elv"),
        ("powershell", "_vial.ps1"),
    ] {
        let path = directory.join(file);
        let script = std::fs::File::create(&path).map_err(|source| Error::File {
            operation: "create",
            path: path.clone(),
            source,
        })?;
        run(
            &["completion".as_ref(), shell.as_ref()],
            Stdio::from(script),
        )?;
    }
    Ok(())
}

fn directory(args: &Args, default: &str) -> PathBuf {
    args.directory
        .clone()
        .unwrap_or_else(|| crate::root().join(default))
}

/// Runs the `vial` of this workspace.
fn run(arguments: &[&std::ffi::OsStr], stdout: Stdio) -> Result<(), Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = crate::root().join("Cargo.toml");
    let status = Command::new(&cargo)
        .args(["run", "--quiet", "--package", "vial", "--manifest-path"])
        .arg(&manifest)
        .arg("--")
        .args(arguments)
        .stdout(stdout)
        .status()
        .map_err(|source| Error::File {
            operation: "run",
            path: Path::new(&cargo).into(),
            source,
        })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Vial { status })
    }
}
