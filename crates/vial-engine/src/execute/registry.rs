//! Removing from the registry's disk what no image needs any more.

use std::time::Duration;

use vial_rpc::agent_client::AgentClient;
use vial_rpc::{ComponentRef, File, WaitReadyRequest, WriteFilesRequest};
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
    let files = vec![file];
    agent
        .write_files(WriteFilesRequest { files })
        .await
        .map_err(refused())?;
    let name = REGISTRY.to_owned();
    agent
        .restart_component(ComponentRef { name: name.clone() })
        .await
        .map_err(refused())?;
    let timeout_ms = u64::try_from(COLLECTED.as_millis()).unwrap_or(u64::MAX);
    agent
        .wait_ready(WaitReadyRequest { name, timeout_ms })
        .await
        .map_err(refused())?;
    Ok(())
}
