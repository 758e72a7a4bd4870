//! What may be typed after `ping`; pure.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::args::{Wish, parsed};

/// As many requests as one target may get: no flood by a slip.
const MOST: u32 = 10_000;

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    /// Requests for each target.
    pub(crate) count: u32,
    /// How long one may take.
    pub(crate) timeout: Duration,
    pub(crate) json: bool,
    pub(crate) targets: Vec<Target>,
}

/// Whom to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `icmp:ADDRESS`: an echo.
    Icmp(IpAddr),
    /// `tcp:HOST:PORT`: a connection.
    Tcp {
        /// A name or an address.
        host: String,
        port: u16,
    },
}

impl FromStr for Target {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            Some(("icmp", address)) => address.parse().map(Self::Icmp).map_err(|_| ()),
            Some(("tcp", rest)) => {
                let (host, port) = rest.rsplit_once(':').ok_or(())?;
                let port = port.parse().ok().filter(|port| *port > 0).ok_or(())?;
                let inner = host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'));
                let host = inner.unwrap_or(host).to_owned();
                // A colon in a name would be one of IPv6.
                let good =
                    !host.is_empty() && (!host.contains(':') || host.parse::<IpAddr>().is_ok());
                good.then_some(Self::Tcp { host, port }).ok_or(())
            }
            _ => Err(()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp(address) => write!(formatter, "icmp:{address}"),
            Self::Tcp { host, port } if host.contains(':') => {
                write!(formatter, "tcp:[{host}]:{port}")
            }
            Self::Tcp { host, port } => write!(formatter, "tcp:{host}:{port}"),
        }
    }
}

/// Reads what follows `ping`; the error is a line for the person.
pub(crate) fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Wish, String> {
    let mut args = Args {
        count: 3,
        timeout: Duration::from_secs(1),
        json: false,
        targets: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let (name, mut inline) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
            None => (text.clone(), None),
        };
        let mut value = || {
            let value = inline.take().or_else(|| arguments.next());
            value.ok_or_else(|| format!("{name} needs a value"))
        };
        match name.as_str() {
            "-h" | "--help" => return Ok(Wish::Help),
            "--json" => args.json = true,
            "--count" => args.count = within(&name, value()?, 1..=MOST)?,
            "--timeout" => {
                let milliseconds = within(&name, value()?, 1..=600_000)?;
                args.timeout = Duration::from_millis(milliseconds.into());
            }
            _ if name.starts_with('-') => return Err(format!("unknown argument {text}")),
            _ => {
                let target = text.parse().map_err(|()| {
                    format!("{text:?} is no target: icmp:ADDRESS or tcp:HOST:PORT is one")
                })?;
                args.targets.push(target);
            }
        }
    }
    if args.targets.is_empty() {
        return Err("ping needs a target: icmp:ADDRESS or tcp:HOST:PORT".into());
    }
    Ok(Wish::Ping(args))
}

fn within(
    name: &str,
    value: OsString,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32, String> {
    let number = parsed(name, value)?;
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(format!(
            "{name} cannot be {number}: it is from {} to {}",
            range.start(),
            range.end()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Result<Args, String> {
        match parse(words.iter().map(OsString::from))? {
            Wish::Ping(args) => Ok(args),
            wish => panic!("{wish:?}"),
        }
    }

    #[test]
    fn targets_are_written_as_they_are_read() {
        for text in [
            "icmp:10.0.0.1",
            "icmp:fd00::1",
            "tcp:web:80",
            "tcp:[fd00::1]:22",
            "tcp:10.0.0.1:22",
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        let bare: Target = "tcp:fd00::1:22".parse().unwrap();
        assert_eq!(bare.to_string(), "tcp:[fd00::1]:22");
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "web",
            "icmp:web",
            "icmp:",
            "tcp:web",
            "tcp::80",
            "tcp:web:0",
            "tcp:web:65536",
            "tcp:a:b:80",
            "udp:web:80",
        ] {
            assert_eq!(text.parse::<Target>(), Err(()), "{text}");
        }
    }

    #[test]
    fn options_stand_anywhere() {
        let args = args(&["--count=5", "icmp:::1", "--timeout", "250", "--json"]).unwrap();
        assert_eq!((args.count, args.timeout.as_millis()), (5, 250));
        assert!(args.json && args.targets.len() == 1);
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (words, expected) in [
            (&[][..], "ping needs a target"),
            (&["--count", "0", "icmp:::1"], "it is from 1 to 10000"),
            (&["--count"], "--count needs a value"),
            (&["--timeout", "x"], "--timeout cannot be \"x\""),
            (&["--what"], "unknown argument --what"),
            (&["10.0.0.1"], "\"10.0.0.1\" is no target"),
        ] {
            let error = args(words).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
