//! What `sudo` tells the server, as bytes; pure.
//!
//! A number of four bytes, the highest first, is the length of what follows. Then come strings, each with its length
//! before it: user, directory, flags, the number of words, the words, and names and values in turn.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// The largest request: as much as the kernel lets a program be started with (execve(2)).
pub(crate) const LARGEST: usize = 2 * 1024 * 1024;

/// A command that somebody wants to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// A name, or `#` and a number.
    pub(crate) user: OsString,
    /// Where to work.
    pub(crate) directory: OsString,
    /// A login shell, in the home of the user.
    pub(crate) login: bool,
    /// Through a shell.
    pub(crate) shell: bool,
    /// The command, or nothing for a shell.
    pub(crate) command: Vec<OsString>,
    /// Variables that are set beside the user's own.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl Request {
    /// As bytes, with the length.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        let mut put = |string: &OsStr| {
            let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
            bytes.extend(length.to_be_bytes());
            bytes.extend(string.as_bytes());
        };
        put(&self.user);
        put(&self.directory);
        let flag = |on: bool, letter| if on { letter } else { "" };
        put(format!("{}{}", flag(self.login, "i"), flag(self.shell, "s")).as_ref());
        put(self.command.len().to_string().as_ref());
        self.command.iter().for_each(|word| put(word));
        for (name, value) in &self.environment {
            put(name);
            put(value);
        }
        let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    /// From bytes, without the length; `None` when they are no request.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut strings = Strings(bytes);
        let (user, directory) = (strings.next()?, strings.next()?);
        let flags = strings.next()?;
        let words: usize = strings.next()?.to_str()?.parse().ok()?;
        // Not as many as it says, but as many as there are.
        let command: Vec<OsString> = strings.by_ref().take(words).collect();
        if command.len() != words {
            return None;
        }
        let mut environment = Vec::new();
        while !strings.0.is_empty() {
            environment.push((strings.next()?, strings.next()?));
        }
        let nul = |string: &OsStr| string.as_bytes().contains(&0);
        let bad_name =
            |name: &OsStr| name.is_empty() || nul(name) || name.as_bytes().contains(&b'=');
        let bad = command.iter().any(|word| nul(word))
            || nul(&directory)
            || environment
                .iter()
                .any(|(name, value)| bad_name(name) || nul(value));
        (!bad).then(|| Self {
            user,
            directory,
            login: flags.as_bytes().contains(&b'i'),
            shell: flags.as_bytes().contains(&b's'),
            command,
            environment,
        })
    }
}

/// What is left to read.
struct Strings<'a>(&'a [u8]);

impl Iterator for Strings<'_> {
    type Item = OsString;

    fn next(&mut self) -> Option<OsString> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (string, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(OsString::from_vec(string.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            user: "root".into(),
            directory: "/home/ann".into(),
            login: true,
            shell: false,
            command: vec!["echo".into(), OsString::from_vec(vec![0xff, b' '])],
            environment: vec![("A".into(), "1".into()), ("B".into(), OsString::new())],
        }
    }

    #[test]
    fn what_is_sent_arrives() {
        for request in [request(), Request::default()] {
            let bytes = request.encode();
            let (length, rest) = bytes.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, rest.len());
            assert_eq!(Request::decode(rest), Some(request));
        }
    }

    #[test]
    fn a_piece_of_it_is_not_it() {
        let bytes = request().encode();
        for end in 4..bytes.len() {
            let decoded = Request::decode(&bytes[4..end]);
            assert_ne!(decoded, Some(request()), "{end}");
        }
    }

    #[test]
    fn what_would_break_a_program_s_start_is_refused() {
        let mut nul = request();
        nul.command.push("a\0b".into());
        assert_eq!(Request::decode(&nul.encode()[4..]), None);
        let mut name = request();
        name.environment.push(("A=B".into(), "x".into()));
        assert_eq!(Request::decode(&name.encode()[4..]), None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>) {
            let _ = Request::decode(&bytes);
        }
    }
}
