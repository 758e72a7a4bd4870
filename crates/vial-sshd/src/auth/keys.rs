//! Lines of authorized_keys (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"); pure.
//!
//! A line that cannot be understood, or has an option this server does not know, lets nobody in.

use russh::keys::PublicKey;

use super::options::{self, Options};

/// How the names of kinds of keys begin.
const KINDS: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];

/// One key that may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What stands before the key.
    pub(crate) options: Options,
    /// The key.
    pub(crate) key: PublicKey,
}

/// All good lines.
pub(crate) fn parse(text: &str) -> Vec<Entry> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Entry> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (options, key) = if KINDS.iter().any(|kind| line.starts_with(kind)) {
        (Options::default(), line)
    } else {
        let (options, rest) = line.split_at(end_of_options(line)?);
        (options::parse(options)?, rest.trim_start())
    };
    let mut words = key.split_whitespace();
    let (kind, data) = (words.next()?, words.next()?);
    let key = PublicKey::from_openssh(&format!("{kind} {data}")).ok()?;
    Some(Entry { options, key })
}

/// The first blank outside of quotes; a quote inside of quotes is written `\"`.
fn end_of_options(line: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in line.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn comments_blanks_and_nonsense_are_passed_over() {
        let text = format!("# me\n\n{KEY} me@home and more\nnonsense\nssh-ed25519 AAAA\n  {KEY}\n");
        assert_eq!(parse(&text).len(), 2);
    }

    #[test]
    fn options_may_hold_blanks_in_quotes() {
        let text = format!("command=\"echo \\\"a b\\\" c\",no-pty {KEY} me");
        let entries = parse(&text);
        assert_eq!(
            entries[0].options.command.as_deref(),
            Some("echo \"a b\" c")
        );
        assert!(!entries[0].options.terminal);
    }

    #[test]
    fn a_line_with_an_unknown_option_lets_nobody_in() {
        assert_eq!(parse(&format!("tunnel=\"0\" {KEY}")), []);
        assert_eq!(parse(&format!("command=\"unfinished {KEY}")), []);
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text: String) {
            parse(&text);
            parse(&format!("{text} {KEY}"));
        }
    }
}
