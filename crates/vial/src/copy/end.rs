//! One end of a copy: the host, or a node.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use vial_archive::{ArchiveError, Kind, Seen};
use vial_rpc::agent_client::AgentClient;
use vial_rpc::{Channel, LookRequest, look_reply};

use crate::agent::{self, Container};
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::node_name::NodeName;

/// One end of a copy.
#[derive(Clone)]
pub(crate) enum End {
    /// This machine.
    Host,
    /// A node, by its agent.
    Node(NodeName, Box<AgentClient<Channel>>),
}

/// Whether a symbolic link at the end of a path is meant itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The link.
    Itself,
    /// What it leads to.
    Followed,
}

impl End {
    /// A node, which has to be there and to answer.
    pub(crate) async fn node(context: &Context, name: NodeName) -> Result<Self> {
        name.find(context)?;
        let client = agent::connect(context, &name.cluster, &name.node, Container::Node).await?;
        Ok(Self::Node(name, Box::new(client)))
    }

    /// What is at `path`.
    pub(crate) async fn look(&self, path: &Path, way: Way) -> Result<Seen> {
        let follow = way == Way::Followed;
        match self {
            Self::Host => {
                let absolute = std::path::absolute(path)
                    .map_err(|error| Error::caused("cannot find the current directory", error))?;
                // `absolute` takes a slash at the end away, which means something here.
                let slash = path.as_os_str().as_bytes();
                let follow = follow || slash.ends_with(b"/") || slash.ends_with(b"/.");
                vial_archive::look(&absolute, follow).map_err(|error| {
                    Error::caused(format!("cannot look at {}", path.display()), error)
                })
            }
            Self::Node(name, client) => {
                let request = LookRequest {
                    path: path.as_os_str().as_bytes().to_vec(),
                    follow,
                };
                let reply = client.clone().look(request).await;
                let reply = reply
                    .map_err(|status| {
                        let what = format!("cannot look at {}", self.shown(path));
                        agent::refused(what, &status)
                    })?
                    .into_inner();
                let kind = match reply.kind() {
                    look_reply::Kind::Missing => Kind::Missing,
                    look_reply::Kind::File => Kind::File,
                    look_reply::Kind::Directory => Kind::Directory,
                    look_reply::Kind::Link => Kind::Link,
                    look_reply::Kind::Special => Kind::Special,
                };
                tracing::debug!(node = name.node, ?kind, path = %path.display(), "looked");
                Ok(Seen {
                    kind,
                    real: OsString::from_vec(reply.real).into(),
                    parent: reply.parent,
                })
            }
        }
    }

    /// A path of this end, as people write it.
    pub(crate) fn shown(&self, path: &Path) -> String {
        match self {
            Self::Host => path.display().to_string(),
            Self::Node(name, _) => format!("{}:{}", name.node, path.display()),
        }
    }

    /// Is this the same machine?
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Host, Self::Host) => true,
            (Self::Node(one, _), Self::Node(other, _)) => one == other,
            _ => false,
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("Host"),
            Self::Node(name, _) => write!(f, "{}", name.host()),
        }
    }
}

/// An error of the host's side, with what a script wants to know.
pub(crate) fn refused(what: String, error: ArchiveError) -> Error {
    use std::io::ErrorKind as Io;
    let code = match error.kind() {
        Io::NotFound => Some(Code::NotFound),
        Io::AlreadyExists | Io::InvalidData => Some(Code::BadInput),
        _ => None,
    };
    let error = Error::caused(what, error);
    match code {
        Some(code) => error.with_code(code),
        None => error,
    }
}
