//! The ways from a run directory to what serves inside, for whoever has no [`Sandbox`](crate::Sandbox) in hand.
//!
//! ```text
//! RUN/agents/CONTAINER/agent.sock    the agent itself, where the sandbox is namespaces
//! RUN/dial.sock                      the link into a machine, where everything else is asked for
//! RUN/agents/NODE.machine/dial.sock  the same, of a node that is a machine
//! ```

use std::io;
use std::path::{Path, PathBuf};

use vial_link::Target;
use vial_rpc::{Channel, ConnectError};

use crate::inside;

/// The link into a machine that is the sandbox.
pub(crate) const LINK: &str = "dial.sock";

/// Where the agent of a container serves, below a run directory.
pub(crate) fn agent_below(run_dir: &Path, container: &str) -> PathBuf {
    run_dir.join("agents").join(container).join("agent.sock")
}

/// gRPC to the agent of a container, by the cluster's run directory on the host.
///
/// # Errors
/// When nobody answers there: the cluster is stopped, or the container is.
pub async fn agent(run_dir: &Path, container: &str) -> Result<Channel, ConnectError> {
    let link = run_dir.join(LINK);
    if link.exists() {
        let inner = agent_below(inside::RUN.as_ref(), container);
        return through(link, Target::Unix(inner)).await;
    }
    vial_rpc::connect(agent_below(run_dir, container)).await
}

/// gRPC to a target in a guest.
pub(crate) async fn through(link: PathBuf, target: Target) -> Result<Channel, ConnectError> {
    let socket = link.clone();
    let dial = move || {
        let (socket, target) = (socket.clone(), target.clone());
        async move {
            let dialled = vial_link::dial(&socket, &target).await;
            dialled.map_err(io::Error::other)
        }
    };
    vial_rpc::connect_by(&link, dial).await
}
