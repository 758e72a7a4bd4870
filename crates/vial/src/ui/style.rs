//! The few colours that vial has, by meaning.

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// As the terminal has it.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// To be looked at.
    Warn,
    /// A name, a next step.
    Accent,
    /// Of less importance.
    Dim,
}

impl Style {
    /// The text between the escape sequences of ECMA-48 (SGR), when colour is wanted.
    pub(crate) fn paint(self, text: &str, color: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Warn => "33",
            Self::Accent => "36",
            Self::Dim => "2",
        };
        if color && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
