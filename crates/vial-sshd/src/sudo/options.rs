//! The options of sudo(8), as far as they mean something where nobody is asked for a password; pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run something.
    Run(Run),
    /// `-l`: say what may be done.
    List,
    /// `-v`, `-k`, `-K`: nothing, because nothing is remembered.
    Nothing,
    /// `-V`.
    Version,
    /// `-h`.
    Help,
}

/// What to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// `-u`; root without.
    pub(crate) user: Option<OsString>,
    /// `-D`.
    pub(crate) directory: Option<OsString>,
    /// `-E`: the caller's environment stays.
    pub(crate) keep_environment: bool,
    /// `--preserve-env=A,B`: these stay.
    pub(crate) keep: Vec<OsString>,
    /// `NAME=value` before the command.
    pub(crate) set: Vec<(OsString, OsString)>,
    /// `-i`: a login shell, in the home.
    pub(crate) login: bool,
    /// `-s`: a shell.
    pub(crate) shell: bool,
    /// `-b`: do not wait.
    pub(crate) background: bool,
    /// The command; empty for a shell without one.
    pub(crate) command: Vec<OsString>,
}

/// Reads the arguments after the name; the error is a line for the person.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Action, String> {
    let mut arguments = arguments.into_iter().peekable();
    let mut run = Run::default();
    let mut other = None;
    while let Some(argument) = arguments.next_if(|argument| argument.as_bytes().starts_with(b"-")) {
        let text = argument.to_string_lossy().into_owned();
        if text == "--" {
            break;
        }
        if let Some(long) = text.strip_prefix("--") {
            let (name, mut inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (long, None),
            };
            let short = short_of(name).ok_or_else(|| format!("unrecognized option {text}"))?;
            if short == 'E' {
                match inline {
                    Some(names) => run.keep.extend(split(&names)),
                    None => run.keep_environment = true,
                }
                continue;
            }
            if takes_value(short) && inline.is_none() {
                inline = Some(arguments.next().ok_or_else(|| needs_value(&text))?);
            }
            apply(&mut run, &mut other, short, inline)?;
            continue;
        }
        // Letters in one word; the rest of the word, or the next one, is the value of the first that takes one.
        let bytes = argument.as_bytes();
        for (at, letter) in bytes.iter().enumerate().skip(1) {
            let letter = char::from(*letter);
            if takes_value(letter) {
                let rest = OsStr::from_bytes(&bytes[at + 1..]).to_owned();
                let value = if rest.is_empty() {
                    arguments.next().ok_or_else(|| needs_value(&text))?
                } else {
                    rest
                };
                apply(&mut run, &mut other, letter, Some(value))?;
                break;
            }
            apply(&mut run, &mut other, letter, None)?;
        }
    }
    while let Some(variable) = arguments.next_if(|argument| is_variable(argument)) {
        let bytes = variable.as_bytes();
        let at = bytes
            .iter()
            .position(|byte| *byte == b'=')
            .unwrap_or(bytes.len());
        let (name, value) = (&bytes[..at], &bytes[at + 1..]);
        run.set.push((os(name), os(value)));
    }
    run.command = arguments.collect();
    match other {
        // `sudo -k COMMAND` runs it.
        Some(Action::Nothing) if !run.command.is_empty() => Ok(Action::Run(run)),
        Some(action) => Ok(action),
        None if run.command.is_empty() && !run.login && !run.shell => {
            Err("usage: sudo [-EHins] [-u USER] [-D DIR] [NAME=value] COMMAND [ARGS]...".into())
        }
        None => Ok(Action::Run(run)),
    }
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

fn split(names: &OsStr) -> impl Iterator<Item = OsString> {
    names.as_bytes().split(|byte| *byte == b',').map(os)
}

fn needs_value(option: &str) -> String {
    format!("option {option} requires an argument")
}

fn short_of(name: &str) -> Option<char> {
    Some(match name {
        "user" => 'u',
        "group" => 'g',
        "prompt" => 'p',
        "chdir" => 'D',
        "close-from" => 'C',
        "command-timeout" => 'T',
        "non-interactive" => 'n',
        "stdin" => 'S',
        "set-home" => 'H',
        "preserve-env" => 'E',
        "login" => 'i',
        "shell" => 's',
        "background" => 'b',
        "list" => 'l',
        "validate" => 'v',
        "reset-timestamp" => 'k',
        "remove-timestamp" => 'K',
        "version" => 'V',
        "help" => 'h',
        "preserve-groups" => 'P',
        "askpass" => 'A',
        _ => return None,
    })
}

fn takes_value(letter: char) -> bool {
    "ugpDCT".contains(letter)
}

fn apply(
    run: &mut Run,
    other: &mut Option<Action>,
    letter: char,
    value: Option<OsString>,
) -> Result<(), String> {
    match letter {
        'u' => run.user = value,
        'D' => run.directory = value,
        'E' => run.keep_environment = true,
        'i' => run.login = true,
        's' => run.shell = true,
        'b' => run.background = true,
        'l' => *other = Some(Action::List),
        'v' | 'k' | 'K' => *other = Some(Action::Nothing),
        'V' => *other = Some(Action::Version),
        'h' => *other = Some(Action::Help),
        // About passwords, which there are none of, or the default here.
        'n' | 'S' | 'A' | 'p' | 'H' | 'P' | 'C' => {}
        'g' | 'T' => return Err(format!("option -{letter} is not supported")),
        _ => return Err(format!("invalid option -{letter}")),
    }
    Ok(())
}

fn is_variable(argument: &OsStr) -> bool {
    let bytes = argument.as_bytes();
    let name = bytes.split(|byte| *byte == b'=').next().unwrap_or_default();
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    name.len() < bytes.len()
        && name.first().is_some_and(|first| !first.is_ascii_digit())
        && name.iter().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Run {
        match parse(words.iter().map(OsString::from)).unwrap() {
            Action::Run(run) => run,
            action => panic!("{action:?}"),
        }
    }

    #[test]
    fn as_ansible_calls_it() {
        let run = run(&[
            "-H",
            "-S",
            "-n",
            "-u",
            "root",
            "/bin/sh",
            "-c",
            "echo -E; id",
        ]);
        assert_eq!(run.user.as_deref(), Some(OsStr::new("root")));
        assert_eq!(run.command, ["/bin/sh", "-c", "echo -E; id"]);
    }

    #[test]
    fn letters_in_one_word_and_long_names() {
        assert_eq!(
            run(&["-nuann", "id"]).user.as_deref(),
            Some(OsStr::new("ann"))
        );
        assert!(run(&["-Ei"]).login);
        assert!(run(&["--login", "--user=ann"]).login);
        assert_eq!(run(&["--user", "ann", "--", "-x"]).command, ["-x"]);
        assert_eq!(run(&["--preserve-env=A,B", "id"]).keep, ["A", "B"]);
    }

    #[test]
    fn variables_come_before_the_command() {
        let run = run(&["A=1", "B_2=x=y", "env", "C=3"]);
        assert_eq!(
            run.set,
            [("A".into(), "1".into()), ("B_2".into(), "x=y".into())]
        );
        assert_eq!(run.command, ["env", "C=3"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for words in [&["-u"][..], &["-?"], &["--what"], &[], &["-g", "x", "id"]] {
            assert!(
                parse(words.iter().map(OsString::from)).is_err(),
                "{words:?}"
            );
        }
        let of = |word: &str| parse([OsString::from(word)]);
        assert_eq!(of("-v"), Ok(Action::Nothing));
        assert_eq!(of("-l"), Ok(Action::List));
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(words: Vec<String>) {
            let _ = parse(words.iter().map(OsString::from));
        }
    }
}
