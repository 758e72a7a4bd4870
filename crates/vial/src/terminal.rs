//! The person's terminal while a command runs in a node: raw, and as it was again afterwards.

use std::io::{self, IsTerminal as _};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use vial_rpc::TerminalSize;

use crate::error::{Error, Result};
use crate::ui::Ui;

/// Standard input in raw mode (termios(3), `cfmakeraw`), until dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Switches standard input, which is a terminal, to raw mode.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Are both ends a terminal?
pub(crate) fn both_ends() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Its size; `None` when standard output is no terminal.
pub(crate) fn size() -> Option<TerminalSize> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some(TerminalSize {
        columns: size.ws_col.into(),
        rows: size.ws_row.into(),
    })
}

/// Asks the person, and gives what they typed, in small letters and without spaces around it.
///
/// # Errors
/// When standard input cannot be read.
pub(crate) fn ask(ui: &Ui, question: &str) -> Result<String> {
    ui.raw_error(question.as_bytes());
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.map_err(|error| Error::caused("cannot read the answer", error))?;
    Ok(answer.trim().to_lowercase())
}
