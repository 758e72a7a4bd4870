//! What a person types for one side of a copy.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::node_name::NodeName;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `-`: a tar archive on standard input or output.
    Stream,
    /// A path of this machine.
    Host(PathBuf),
    /// `NODE:PATH`; the path is absolute.
    Node(NodeName, PathBuf),
}

impl Address {
    /// Reads what was typed, by docker's rules: a `:` ends the name of a node, unless a `/` or a `.` stands at the
    /// beginning or a `/` before it.
    pub(crate) fn parse(text: &OsStr, cluster: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        let colon = bytes.iter().position(|byte| matches!(byte, b':' | b'/'));
        let Some(colon) = colon.filter(|at| bytes[*at] == b':' && bytes[0] != b'.') else {
            if bytes.is_empty() {
                return Err(Error::new(Code::BadInput, "an empty path names nothing"));
            }
            return Ok(Self::Host(text.into()));
        };
        let node = String::from_utf8_lossy(&bytes[..colon]).into_owned();
        let path = &bytes[colon + 1..];
        let wrong = |what: &str| {
            let text = text.to_string_lossy();
            Err(Error::new(Code::BadInput, format!("`{text}` {what}")))
        };
        match (node.as_str(), path) {
            ("", _) => wrong("names no node before the `:`"),
            (_, []) => wrong("names no path after the `:`")
                .map_err(|error: Error| error.hint(format!("`{node}:/` is its root directory"))),
            _ => {
                let path = OsString::from_vec(path.to_vec());
                // As in docker, paths begin at the root directory.
                let path = Path::new("/").join(path);
                Ok(Self::Node(NodeName::parse(&node, cluster), path))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(OsStr::new(text), "dev").unwrap()
    }

    #[test]
    fn a_colon_makes_a_node() {
        let node = |node: &str, path: &str| {
            Address::Node(NodeName::parse(node, "dev"), PathBuf::from(path))
        };
        assert_eq!(parse("w-1:/etc/hosts"), node("w-1", "/etc/hosts"));
        assert_eq!(parse("w-1:tmp/a:b/"), node("w-1", "/tmp/a:b/"));
        assert_eq!(parse("w-1.test.vial:/x"), node("w-1.test.vial", "/x"));
        assert_eq!(parse("-"), Address::Stream);
        for host in ["file", "./w-1:x", "/a:b", "a/b:c", ".", "../x:y"] {
            assert_eq!(parse(host), Address::Host(host.into()), "{host}");
        }
    }

    #[test]
    fn half_an_address_is_refused() {
        for text in ["", ":", ":/x", "w-1:"] {
            let error = Address::parse(OsStr::new(text), "dev").unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text:?}");
        }
    }
}
