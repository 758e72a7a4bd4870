//! What a stream is for: the line that it begins with, and the line that the guest answers.
//!
//! ```text
//! host  → guest   agent                                   the guest's agent (gRPC)
//!                 unix /run/containerd/containerd.sock    a unix socket of the guest
//!                 tcp 10.96.0.1:443                       an address that the guest reaches
//!                 dial w-1 127.0.0.1:10248                an address that the network w-1 of the guest reaches
//!                 listen - 10.89.0.1:53                   connections to an address of the guest: a line each, `ID PEER`
//!                 accept 7                                the connection ID of a listener
//!                 udp - 10.89.0.1:53                      datagrams of an address of the guest: see datagram.rs
//!                 wake 1796040000000000 0f3c…             what time it is, and entropy: see wake.rs
//! guest → host    ok                                      from here on the bytes are the target's
//!                 error TEXT                              and the stream ends
//! ```
//!
//! `-` is the guest's own network.
//!
//! Every line ends with a line feed and is at most [`LONGEST`] bytes. Names are deliberately absent: who resolves them
//! would be a question.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::wake::Wake;

/// How long a line may be, its end included: sockaddr_un's path is 108 bytes (unix(7)), an error tells a little more.
pub const LONGEST: usize = 512;

/// Where a stream leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The agent that is the guest's first process.
    Agent,
    /// A unix socket of the guest, by its absolute path.
    Unix(PathBuf),
    /// An address that can be reached from the guest.
    Tcp(SocketAddr),
    /// An address that can be reached from a network of the guest.
    Dial(Place, SocketAddr),
    /// Connections to an address of the guest: each is told by a line, and taken by [`Target::Accept`].
    Listen(Place, SocketAddr),
    /// A connection that a listener has told.
    Accept(u64),
    /// Datagrams of an address of the guest.
    Udp(Place, SocketAddr),
    /// Nowhere: the guest learns what it missed while it did not run.
    Wake(Wake),
}

/// A network of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// That of its first process.
    Own,
    /// A network namespace by its name: a node's.
    Named(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "-",
            Self::Named(name) => name,
        })
    }
}

/// A line that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The first word is none of those.
    #[error(
        "{word:?} is no kind of target: agent, unix PATH, tcp ADDRESS:PORT, dial, listen, accept, udp or wake"
    )]
    Kind {
        /// What was there.
        word: String,
    },
    /// It cannot be the path of a socket.
    #[error("{path:?} is no absolute path of at most 107 bytes without control characters")]
    Path {
        /// What was there.
        path: String,
    },
    /// It is no address.
    #[error("{address:?} is no ADDRESS:PORT")]
    Address {
        /// What was there.
        address: String,
    },
    /// It cannot name a network.
    #[error("{name:?} is no name of a network: - or one word of at most 63 bytes")]
    Place {
        /// What was there.
        name: String,
    },
    /// It is no number of a connection.
    #[error("{id:?} is no number of a connection")]
    Id {
        /// What was there.
        id: String,
    },
    /// It tells no time, or no entropy.
    #[error("this tells no time in microseconds and 32 bytes of entropy")]
    Wake,
}

/// sockaddr_un has room for 108 bytes with the closing NUL (unix(7)).
const LONGEST_PATH: usize = 107;

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("agent"),
            Self::Unix(path) => write!(f, "unix {}", path.display()),
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Dial(place, address) => write!(f, "dial {place} {address}"),
            Self::Listen(place, address) => write!(f, "listen {place} {address}"),
            Self::Accept(id) => write!(f, "accept {id}"),
            Self::Udp(place, address) => write!(f, "udp {place} {address}"),
            Self::Wake(wake) => write!(f, "wake {wake}"),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// Reads a line without its end.
    fn from_str(line: &str) -> Result<Self, TargetError> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "agent" if rest.is_empty() && line == word => Ok(Self::Agent),
            "unix" => socket_path(rest),
            "tcp" => address(rest).map(Self::Tcp),
            "dial" => at(rest).map(|(place, address)| Self::Dial(place, address)),
            "listen" => at(rest).map(|(place, address)| Self::Listen(place, address)),
            "udp" => at(rest).map(|(place, address)| Self::Udp(place, address)),
            "accept" => number(rest).map(Self::Accept),
            "wake" => rest.parse().map(Self::Wake),
            _ => Err(TargetError::Kind {
                word: line.to_owned(),
            }),
        }
    }
}

impl Target {
    /// The line as it is sent.
    ///
    /// # Errors
    /// When it could not be read again: a path that is relative, too long, or has a line feed in it.
    pub fn line(&self) -> Result<String, TargetError> {
        let line = self.to_string();
        line.parse::<Self>()?;
        Ok(line + "\n")
    }
}

/// How long the name of a network may be: a node's is a DNS label (RFC 1123).
const LONGEST_NAME: usize = 63;

fn address(text: &str) -> Result<SocketAddr, TargetError> {
    text.parse().map_err(|_| TargetError::Address {
        address: text.to_owned(),
    })
}

/// A network, a blank, an address.
fn at(text: &str) -> Result<(Place, SocketAddr), TargetError> {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let place = match name {
        "-" => Place::Own,
        _ if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) => {
            return Err(TargetError::Place {
                name: name.to_owned(),
            });
        }
        _ => Place::Named(name.to_owned()),
    };
    Ok((place, address(rest)?))
}

fn number(text: &str) -> Result<u64, TargetError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| TargetError::Id {
        id: text.to_owned(),
    })
}

fn socket_path(path: &str) -> Result<Target, TargetError> {
    let usable =
        path.starts_with('/') && path.len() <= LONGEST_PATH && !path.contains(char::is_control);
    if !usable {
        return Err(TargetError::Path {
            path: path.to_owned(),
        });
    }
    Ok(Target::Unix(path.into()))
}

/// What the guest says to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The stream is the target's now.
    Ok,
    /// The guest cannot reach it, and says why.
    Error(String),
}

impl Answer {
    /// The line as it is sent: one line, whatever the text.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Ok => "ok\n".to_owned(),
            Self::Error(text) => {
                let room = LONGEST - "error \n".len();
                let mut line = String::from("error ");
                let printable = text
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .scan(0, |length, c| {
                        *length += c.len_utf8();
                        (*length <= room).then_some(c)
                    });
                line.extend(printable);
                line.push('\n');
                line
            }
        }
    }

    /// Reads a line without its end; `None` when it is no answer.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        match line {
            "ok" => Some(Self::Ok),
            _ => Some(Self::Error(line.strip_prefix("error ")?.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kinds() {
        for (line, target) in [
            ("agent", Target::Agent),
            (
                "unix /run/containerd/containerd.sock",
                Target::Unix("/run/containerd/containerd.sock".into()),
            ),
            ("unix /with blank", Target::Unix("/with blank".into())),
            (
                "tcp 10.96.0.1:443",
                Target::Tcp("10.96.0.1:443".parse().unwrap()),
            ),
            (
                "tcp [fd89::2]:10250",
                Target::Tcp("[fd89::2]:10250".parse().unwrap()),
            ),
            (
                "dial w-1 127.0.0.1:10248",
                Target::Dial(
                    Place::Named("w-1".into()),
                    "127.0.0.1:10248".parse().unwrap(),
                ),
            ),
            (
                "listen - 10.89.0.1:53",
                Target::Listen(Place::Own, "10.89.0.1:53".parse().unwrap()),
            ),
            ("accept 7", Target::Accept(7)),
            (
                "udp - [fd89::1]:53",
                Target::Udp(Place::Own, "[fd89::1]:53".parse().unwrap()),
            ),
        ] {
            assert_eq!(line.parse(), Ok(target.clone()), "{line}");
            assert_eq!(target.line().unwrap(), format!("{line}\n"));
        }
    }

    #[test]
    fn what_names_no_target() {
        let long = format!("unix /{}", "x".repeat(LONGEST_PATH));
        for line in [
            "",
            " ",
            "agent ",
            "agent x",
            "Agent",
            "unix",
            "unix ",
            "unix relative",
            "unix /a\nb",
            "unix /a\0b",
            "tcp",
            "tcp 10.0.0.1",
            "tcp localhost:80",
            "tcp 10.0.0.1:65536",
            "tcp  10.0.0.1:80",
            "udp 10.0.0.1:53",
            "udp  10.0.0.1:53",
            "dial w-1",
            "dial a/b 10.0.0.1:53",
            "listen - 10.0.0.1",
            "accept",
            "accept +7",
            "accept -1",
            long.as_str(),
        ] {
            assert!(line.parse::<Target>().is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_path_that_could_not_be_read_again_is_not_sent() {
        for path in ["relative", "/two\nlines", "/\u{7f}"] {
            assert!(Target::Unix(path.into()).line().is_err(), "{path:?}");
        }
    }

    #[test]
    fn answers_are_one_line() {
        let error = Answer::Error("no\nsuch\rfile".to_owned()).line();
        assert_eq!(error, "error no such file\n");
        let long = Answer::Error("ö".repeat(LONGEST)).line();
        assert!(
            long.len() <= LONGEST && long.ends_with("ö\n"),
            "{}",
            long.len()
        );
        assert_eq!(Answer::parse("ok"), Some(Answer::Ok));
        assert_eq!(
            Answer::parse("error why"),
            Some(Answer::Error("why".into()))
        );
        for line in ["", "okay", "ok ", "error", "HTTP/1.1 200 OK"] {
            assert_eq!(Answer::parse(line), None, "{line}");
        }
    }

    fn targets() -> impl Strategy<Value = Target> {
        prop_oneof![
            Just(Target::Agent),
            "/[^\\p{Cc}]{0,25}".prop_map(|path| Target::Unix(path.into())),
            any::<(std::net::Ipv4Addr, u16)>().prop_map(|address| Target::Tcp(address.into())),
            any::<(std::net::Ipv6Addr, u16)>().prop_map(|address| Target::Tcp(address.into())),
            any::<u64>().prop_map(Target::Accept),
            ("[a-z0-9]{1,63}", any::<(std::net::Ipv6Addr, u16)>())
                .prop_map(|(name, address)| Target::Dial(Place::Named(name), address.into())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(target in targets()) {
            let line = target.line().unwrap();
            prop_assert!(line.len() <= LONGEST);
            prop_assert_eq!(line.strip_suffix('\n').unwrap().parse(), Ok(target));
        }

        #[test]
        fn what_is_understood_would_be_written_so(line in "(agent|unix|tcp|dial|listen -|udp -|accept)? ?[ -~]{0,40}") {
            if let Ok(target) = line.parse::<Target>() {
                let again = target.line().unwrap();
                prop_assert_eq!(again.trim_end_matches('\n').parse(), Ok(target));
            }
        }

        #[test]
        fn any_text_is_told_in_one_line(text in ".{0,700}") {
            let line = Answer::Error(text).line();
            prop_assert!(line.len() <= LONGEST);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(Answer::parse(line.trim_end_matches('\n')).is_some());
        }
    }
}
