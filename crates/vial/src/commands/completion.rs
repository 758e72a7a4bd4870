//! `vial completion SHELL`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::{Exit, Result};

/// Print a completion script for a shell
///
/// Examples:
///   source <(vial completion bash)
///   vial completion zsh > ~/.zfunc/_vial
///   vial completion fish > ~/.config/fish/completions/vial.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CompletionArgs {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: CompletionArgs) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vial", &mut script);
    context.ui.data(script)?;
    Ok(Exit::OK)
}
