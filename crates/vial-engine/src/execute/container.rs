//! One process container: made, filled with its files, its components started.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use vial_rpc::agent_client::AgentClient;
use vial_rpc::init_client::InitClient;
use vial_rpc::{
    Channel, Code, ComponentSpec, File, RestoreRequest, StopContainerRequest, WaitReadyRequest,
    WriteFilesRequest,
};
use vial_sandbox::{Sandbox, inside};

use crate::freeze::namespace::dump_inside;
use crate::pki::ClusterPki;
use crate::plan::{ComponentPlan, ContainerPlan, Stage};
use crate::{Error, Result};

/// How long a component may take to become ready, on a machine that is busy with other clusters.
pub(super) const READY: Duration = Duration::from_secs(180);

/// The same in a virtual machine, which may have to do with software emulation: the API of one was not ready within 180
/// seconds, on two cores that were busy five times over.
pub(super) const READY_IN_MACHINE: Duration = Duration::from_secs(600);

/// A running container and the line to its agent.
pub(super) struct Container<'a> {
    plan: &'a ContainerPlan,
    files: Vec<File>,
    agent: AgentClient<Channel>,
}

impl<'a> Container<'a> {
    /// Makes the container (or finds it running) and writes its files. The guest of a machine runs already: its container
    /// came first.
    pub(super) async fn start(
        sandbox: &dyn Sandbox,
        pki: &ClusterPki,
        plan: &'a ContainerPlan,
    ) -> Result<Self> {
        let name = &plan.spec.name;
        if plan.guest.is_none() {
            let mut init = InitClient::new(sandbox.init().await?);
            init.start_container(plan.spec.clone())
                .await
                .map_err(Error::rpc(format!("cannot start container {name}")))?;
        }
        let mut agent = AgentClient::new(sandbox.agent(name).await?);
        let files = render(pki, plan)?;
        agent
            .write_files(WriteFilesRequest {
                files: files.clone(),
            })
            .await
            .map_err(Error::rpc(format!(
                "cannot write the files of container {name}"
            )))?;
        Ok(Self { plan, files, agent })
    }

    /// Starts (or replaces, where the plan changed) the components of a stage; does not wait for them.
    pub(super) async fn apply(&self, stage: Stage) -> Result<()> {
        for component in self
            .plan
            .components
            .iter()
            .filter(|component| component.stage == stage)
        {
            let spec = self.complete(component);
            let what = format!("cannot start {} in {}", spec.name, self.plan.spec.name);
            self.agent
                .clone()
                .apply_component(spec)
                .await
                .map_err(Error::rpc(what))?;
        }
        Ok(())
    }

    /// Brings back what was dumped; fine when it is back already.
    pub(super) async fn restore(&self) -> Result<()> {
        let name = &self.plan.spec.name;
        let request = RestoreRequest {
            directory: dump_inside(),
        };
        match self.agent.clone().restore(request).await {
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            restored => {
                let what = format!("cannot bring back what ran in container {name}");
                restored.map(drop).map_err(Error::rpc(what))
            }
        }
    }

    /// Waits until a component is ready.
    pub(super) async fn ready(&self, component: &str) -> Result<()> {
        self.ready_within(component, self.patience()).await
    }

    /// How long what runs in it may take.
    pub(super) fn patience(&self) -> Duration {
        patience(self.plan)
    }

    /// The same, with a patience of one's own.
    pub(super) async fn ready_within(&self, component: &str, patience: Duration) -> Result<()> {
        let what = format!("{component} on {} is not ready", self.plan.spec.node);
        let timeout_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let request = WaitReadyRequest {
            name: component.to_owned(),
            timeout_ms,
        };
        self.agent
            .clone()
            .wait_ready(request)
            .await
            .map_err(Error::rpc(what))?;
        Ok(())
    }

    /// Ends the container, and all that is in it, at once.
    pub(super) async fn stop(sandbox: &dyn Sandbox, plan: &ContainerPlan) -> Result<()> {
        let name = plan.spec.name.clone();
        let what = format!("cannot stop container {name}");
        let mut init = InitClient::new(sandbox.init().await?);
        let request = StopContainerRequest { name, grace_ms: 0 };
        let stopped = init.stop_container(request).await;
        stopped.map_err(Error::rpc(what)).map(drop)
    }

    /// The component's spec with the digest of what it reads.
    fn complete(&self, component: &ComponentPlan) -> ComponentSpec {
        let mut digest = Sha256::new();
        for file in self
            .files
            .iter()
            .filter(|file| component.reads.contains(&file.path))
        {
            digest.update(file.path.as_bytes());
            digest.update((file.content.len() as u64).to_be_bytes());
            digest.update(&file.content);
        }
        let config_digest = digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        ComponentSpec {
            config_digest,
            ..component.spec.clone()
        }
    }
}

/// How long what runs in a container may take to become ready.
pub(super) fn patience(plan: &ContainerPlan) -> Duration {
    // A guest of its own, or one of the containers of a machine that is the sandbox.
    let emulated = plan.guest.is_some() || plan.spec.lower == [inside::IMAGE];
    match emulated {
        false => READY,
        true => READY_IN_MACHINE,
    }
}

fn render(pki: &ClusterPki, plan: &ContainerPlan) -> Result<Vec<File>> {
    let mut files = Vec::with_capacity(plan.files.len());
    for file in &plan.files {
        let content = pki.render(&file.content)?.into_bytes();
        files.push(File {
            path: file.path.clone(),
            content,
            mode: file.mode,
            uid: 0,
            gid: 0,
        });
    }
    Ok(files)
}
