//! OpenSSH of the host, the nodes of clusters, and pods.
//!
//! ```text
//!  ssh w-1.dev.vial ─► ProxyCommand `vial netcat -c dev w-1.dev.vial 22` ─► keeper ─► w-1:22
//! ```
//! Nothing is asked: vial made the host keys, so `known_hosts` is complete before the first connection, and the
//! cluster's key opens every node. The person's own `~/.ssh` is read and never written, but for `~/.ssh/vial` and one line that
//! includes it.
//!
//! | what | where |
//! |---|---|
//! | the text of a configuration | [`config`], pure |
//! | the files that ssh reads | [`files`] |
//! | the names of pods | [`pods`]; their text and `~/.ssh/vial`: `vial_cloud::ssh` |

pub(crate) mod config;
pub(crate) mod files;
pub(crate) mod pods;

use std::path::PathBuf;

use crate::error::{Code, Error, Result};

/// The person's own ssh.
///
/// # Errors
/// When there is none on the PATH.
pub(crate) fn client(node: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("ssh"))
        .find(|program| rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok())
        .ok_or_else(|| {
            Error::new(Code::NotFound, "there is no `ssh` on the PATH")
                .hint("install OpenSSH's client (Debian: openssh-client, Fedora: openssh-clients)")
                .hint(format!("`vial exec {node} -it -- bash` needs none"))
        })
}
