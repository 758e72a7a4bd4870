//! `cargo xtask ci`: what the CI machine does, here. The steps are in `.ci/run`, which it starts.

use std::process::Command;

use crate::{Error, root};

pub(crate) fn run() -> Result<(), Error> {
    let script = root().join(".ci/run");
    let program = script.display().to_string();
    let status = Command::new(&script).current_dir(root()).status();
    let status = status.map_err(|source| Error::Program {
        program: program.clone(),
        source,
    })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Failed { program, status })
    }
}
