//! vial as a person calls it: the release binary, with a cluster of the race's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// The binary beside this one.
#[derive(Debug, Clone)]
pub struct Vial {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Vial {
    /// `vial` of the same build; contexts go to a kubeconfig in `scratch`, not to the person's.
    ///
    /// # Errors
    /// When there is none.
    pub fn beside(scratch: &Path) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("vial");
        if !program.exists() {
            return Err(format!("no {}: cargo build --release -p vial", program.display()).into());
        }
        Ok(Self {
            program,
            kubeconfig: scratch.join("kubeconfig"),
        })
    }

    /// The binary.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A command that is to be run.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null());
        command
    }

    /// Runs to the end; gives what it printed and how long it took.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, args: &[&str]) -> Result<(String, Duration)> {
        let started = Instant::now();
        let output = self.command(args).output()?;
        let took = started.elapsed();
        Ok((said(&output, || format!("vial {}", args.join(" ")))?, took))
    }
}

/// The standard output of a command that went well.
///
/// # Errors
/// When it did not, with what it said.
pub fn said(output: &Output, what: impl FnOnce() -> String) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Err(format!("{} failed ({})\n{out}{err}", what(), output.status).into())
}
