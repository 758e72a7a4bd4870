//! The only place that prints: data to standard output, everything else to standard error.
//!
//! Commands get a [`Ui`] and hand it what to say. Meaning never depends on colour: every state is a word or a sign too.

mod progress;
mod style;
mod table;
mod trace;

use std::io::{self, IsTerminal as _, Write as _};

pub(crate) use progress::{Progress, seconds};
pub(crate) use style::Style;
pub(crate) use table::{Cell, Table};

use crate::error::{Error, Result};

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is `dumb`.
    #[default]
    Auto,
    /// Always, also into files and pipes.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Decides for one stream. <https://no-color.org>: NO_COLOR counts when it is not empty, and a flag beats it.
    fn resolve(self, terminal: bool, no_color: bool, dumb: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && !no_color && !dumb,
        }
    }
}

/// How the command line speaks.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    quiet: bool,
    /// Standard error is a terminal that can move its cursor.
    live: bool,
    color_out: bool,
    color_err: bool,
}

impl Ui {
    /// From the global flags and the environment.
    pub(crate) fn new(quiet: bool, color: ColorChoice) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            quiet,
            live: err && !dumb,
            color_out: color.resolve(out, no_color, dumb),
            color_err: color.resolve(err, no_color, dumb),
        }
    }

    /// Writes data to standard output, as it is.
    pub(crate) fn data(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes.as_ref())
            .and_then(|()| out.flush())
            .map_err(Error::output)
    }

    /// Writes bytes to standard error, as they are: what a command in a node wrote there.
    pub(crate) fn raw_error(&self, bytes: &[u8]) {
        // There is nowhere left to tell that standard error is closed.
        let _ = io::stderr().lock().write_all(bytes);
    }

    /// Is only the necessary to be said?
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Says how the work goes; silenced by `--quiet`.
    pub(crate) fn status(&self, line: impl AsRef<str>) {
        if !self.quiet {
            self.line(line.as_ref());
        }
    }

    /// Something went not quite as wanted, the work goes on; not silenced.
    pub(crate) fn warn(&self, line: impl AsRef<str>) {
        let head = Style::Warn.paint("warning:", self.color_err);
        self.line(&format!("{head} {}", line.as_ref()));
    }

    /// The last words of a failed command.
    pub(crate) fn error(&self, error: &Error) {
        let Some(line) = error.line() else { return };
        self.line(&format!(
            "{} {line}",
            Style::Bad.paint("error:", self.color_err)
        ));
        for detail in error.details() {
            self.line(&format!("  {detail}"));
        }
        for hint in error.hints() {
            self.line(&format!(
                "{} {hint}",
                Style::Accent.paint("hint:", self.color_err)
            ));
        }
    }

    /// May standard output have colour?
    pub(crate) fn color_out(&self) -> bool {
        self.color_out
    }

    /// Paints for standard error.
    pub(crate) fn paint_err(&self, style: Style, text: &str) -> String {
        style.paint(text, self.color_err)
    }

    /// Starts showing the steps of an operation.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.clone())
    }

    fn line(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_unless_told() {
        assert!(ColorChoice::Auto.resolve(true, false, false));
        assert!(!ColorChoice::Auto.resolve(false, false, false));
        assert!(!ColorChoice::Auto.resolve(true, true, false));
        assert!(!ColorChoice::Auto.resolve(true, false, true));
        assert!(ColorChoice::Always.resolve(false, true, true));
        assert!(!ColorChoice::Never.resolve(true, false, false));
    }
}
