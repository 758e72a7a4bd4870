//! What the role was told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

const USAGE: &str = "usage: vial-link --line SOCKET --agent SOCKET [--dial SOCKET] [--once]";

/// The arguments are wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}; {USAGE}")]
pub(super) struct UsageError(String);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// Where QEMU serves the port.
    pub(super) line: PathBuf,
    /// Where the agent is to be found.
    pub(super) agent: PathBuf,
    /// Where everything else is.
    pub(super) dial: Option<PathBuf>,
    /// End when the machine has closed the line, or none comes for ten seconds, instead of waiting for another one.
    pub(super) once: bool,
}

impl Arguments {
    /// The sockets that are made.
    pub(super) fn served(&self) -> Vec<&Path> {
        let dial = self.dial.as_deref();
        [self.agent.as_path()].into_iter().chain(dial).collect()
    }
}

pub(super) fn parse(
    mut arguments: impl Iterator<Item = OsString>,
) -> Result<Arguments, UsageError> {
    let (mut line, mut agent, mut dial) = (None, None, None);
    let mut once = false;
    while let Some(name) = arguments.next() {
        let to = match name.to_str() {
            Some("--line") => &mut line,
            Some("--agent") => &mut agent,
            Some("--dial") => &mut dial,
            Some("--once") => {
                once = true;
                continue;
            }
            _ => return Err(UsageError(format!("unknown argument {}", name.display()))),
        };
        let value = arguments.next();
        let value = value.ok_or_else(|| UsageError(format!("{} needs a value", name.display())))?;
        *to = Some(PathBuf::from(value));
    }
    Ok(Arguments {
        line: line.ok_or_else(|| UsageError("--line is missing".into()))?,
        agent: agent.ok_or_else(|| UsageError("--agent is missing".into()))?,
        dial,
        once,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Arguments, UsageError> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn in_any_order() {
        let arguments = parse_words(&["--dial", "/d", "--agent", "/a", "--line", "/l"]).unwrap();
        assert_eq!(arguments.served(), [Path::new("/a"), Path::new("/d")]);
        assert_eq!(arguments.line, Path::new("/l"));
        let arguments = parse_words(&["--line", "/l", "--agent", "/a"]).unwrap();
        assert_eq!((arguments.dial, arguments.once), (None, false));
        let arguments = parse_words(&["--once", "--line", "/l", "--agent", "/a"]).unwrap();
        assert!(arguments.once);
    }

    #[test]
    fn wrong_ones_tell_the_right_ones() {
        for words in [
            &[][..],
            &["--line", "/l"],
            &["--agent", "/a"],
            &["--line"],
            &["--lin", "/l"],
        ] {
            let error = parse_words(words).unwrap_err().to_string();
            assert!(error.contains("usage: vial-link --line"), "{error}");
        }
    }
}
