//! Removing from the registry's disk what no image needs any more.

use std::time::Duration;

use vial_rpc::agent_client::AgentClient;
use vial_rpc::{Channel, ComponentRef, File, Status, WaitReadyRequest, WriteFilesRequest};
use vial_sandbox::Sandbox;

use crate::plan::{REGISTRY, REGISTRY_COLLECT};
use crate::{Error, Result};

/// How long a collection may take: it reads every manifest.
const COLLECTED: Duration = Duration::from_secs(600);

/// Which manifests are garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Garbage {
    /// Those that were deleted.
    Deleted,
    /// Those that no tag names, too.
    Untagged,
}

/// Restarts the registry, which collects before it serves again; returns when it serves. Cut off, the next start does it.
///
/// # Errors
/// When its agent refuses, or the registry does not come back.
pub async fn collect_garbage(sandbox: &dyn Sandbox, garbage: Garbage) -> Result<()> {
    let refused = || Error::rpc("cannot collect the registry's garbage");
    let mut agent = AgentClient::new(sandbox.agent(REGISTRY).await?);
    let flags = match garbage {
        Garbage::Deleted => "",
        Garbage::Untagged => "--delete-untagged",
    };
    let file = File {
        path: REGISTRY_COLLECT.into(),
        content: flags.into(),
        mode: 0o600,
        ..File::default()
    };
    let request = WriteFilesRequest { files: vec![file] };
    if agent.write_files(request.clone()).await.is_err() {
        // Its disk may be full of half a push; a start removes such.
        restart(&mut agent).await.map_err(refused())?;
        agent.write_files(request).await.map_err(refused())?;
    }
    restart(&mut agent).await.map_err(refused())
}

/// Restarts the registry and waits until it serves.
async fn restart(agent: &mut AgentClient<Channel>) -> std::result::Result<(), Status> {
    let name = REGISTRY.to_owned();
    let component = ComponentRef { name: name.clone() };
    agent.restart_component(component).await?;
    let timeout_ms = u64::try_from(COLLECTED.as_millis()).unwrap_or(u64::MAX);
    agent
        .wait_ready(WaitReadyRequest { name, timeout_ms })
        .await?;
    Ok(())
}
