//! `vial man DIR`, for packagers: `cargo xtask man` calls it.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::cli::Cli;
use crate::context::Context;
use crate::error::{Error, Exit, Result};

/// Write the man pages into a directory
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where to; made when missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn run(context: &Context, args: &ManArgs) -> Result {
    let shown = args.directory.display();
    std::fs::create_dir_all(&args.directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.directory))
        .map_err(|error| Error::caused(format!("cannot write man pages to {shown}"), error))?;
    context.ui.status(format!("man pages are in {shown}"));
    Ok(Exit::OK)
}
