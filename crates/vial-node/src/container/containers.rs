//! All containers of a sandbox: who runs, since when, and what becomes of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tonic::Status;
use vial_rpc::container_status::State;
use vial_rpc::{ContainerSpec, ContainerStatus};
use vial_sys::SysError;
use vial_sys::identity::Process;

use super::launch::{self, Launched};
use super::spec::LaunchSpec;
use crate::init::unix_ms;
use crate::network::check_name;
use crate::reaper::Reaper;

/// Owns the containers.
pub(crate) struct Containers {
    reaper: Reaper,
    known: Mutex<BTreeMap<String, Container>>,
    /// One start or stop of a name at a time.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    events: broadcast::Sender<ContainerStatus>,
}

struct Container {
    spec: ContainerSpec,
    status: ContainerStatus,
    process: Arc<Process>,
    ended: watch::Receiver<bool>,
}

impl Containers {
    pub(crate) fn new(reaper: Reaper) -> Self {
        Self {
            reaper,
            known: Mutex::default(),
            turns: Mutex::default(),
            events: broadcast::Sender::new(256),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Container>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(name.to_owned()).or_default())
    }

    /// Those that run, and those that ended by themselves.
    pub(crate) fn list(&self) -> Vec<ContainerStatus> {
        self.known()
            .values()
            .map(|container| container.status.clone())
            .collect()
    }

    /// Every start and end from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<ContainerStatus> {
        self.events.subscribe()
    }

    /// Starts a container; fine when it runs with this very spec.
    pub(crate) async fn start(
        self: &Arc<Self>,
        spec: ContainerSpec,
    ) -> Result<ContainerStatus, Status> {
        let launch = LaunchSpec::of(&spec)?;
        let turn = self.turn(&spec.name);
        let _turn = turn.lock().await;
        if let Some(running) = self
            .known()
            .get(&spec.name)
            .filter(|known| known.status.state() == State::Running)
        {
            return if running.spec == spec {
                Ok(running.status.clone())
            } else {
                Err(Status::already_exists(format!(
                    "container {} runs with another spec",
                    spec.name
                )))
            };
        }
        let clones = spec.clones.clone();
        blocking(move || clones.iter().try_for_each(launch::clone)).await?;
        let group_name = spec.name.clone();
        let Launched { pid, process, exit } = match launch::launch(&launch, &self.reaper).await {
            Ok(launched) => launched,
            Err(error) => {
                // The first error is the one to tell.
                let _ = blocking(move || LaunchSpec::group(&group_name)?.remove()).await;
                return Err(internal(&error));
            }
        };
        let status = ContainerStatus {
            name: spec.name.clone(),
            node: spec.node.clone(),
            state: State::Running.into(),
            pid,
            exit_code: 0,
            since_unix_ms: unix_ms(),
        };
        let (sender, ended) = watch::channel(false);
        let container = Container {
            spec,
            status: status.clone(),
            process: Arc::new(process),
            ended,
        };
        self.known().insert(status.name.clone(), container);
        tracing::info!(container = status.name, pid, "started");
        // Nobody may be watching.
        let _ = self.events.send(status.clone());
        let (this, name) = (Arc::clone(self), status.name.clone());
        tokio::spawn(async move {
            let code = exit.await.unwrap_or(255);
            this.after_end(name, code).await;
            sender.send_replace(true);
        });
        Ok(status)
    }

    /// Cleans up after a PID 1 that is gone, and tells.
    async fn after_end(&self, name: String, code: i32) {
        let group_name = name.clone();
        if let Err(status) = blocking(move || LaunchSpec::group(&group_name)?.remove()).await {
            tracing::error!(container = name, "{}", status.message());
        }
        let mut known = self.known();
        let Some(container) = known.get_mut(&name) else {
            return;
        };
        container.status.set_state(State::Ended);
        container.status.pid = 0;
        container.status.exit_code = code;
        container.status.since_unix_ms = unix_ms();
        tracing::info!(container = name, code, "ended");
        let _ = self.events.send(container.status.clone());
    }

    /// Ends a container and forgets it; fine when there is none.
    pub(crate) async fn stop(&self, name: &str, grace: Duration) -> Result<(), Status> {
        check_name(name)?;
        let turn = self.turn(name);
        let _turn = turn.lock().await;
        let found = self
            .known()
            .get(name)
            .map(|known| (Arc::clone(&known.process), known.ended.clone()));
        let Some((process, mut ended)) = found else {
            return Ok(());
        };
        if !grace.is_zero() {
            process.terminate().map_err(|error| internal(&error))?;
        }
        let in_time = tokio::time::timeout(grace, ended.wait_for(|ended| *ended))
            .await
            .is_ok();
        if !in_time {
            process.kill().map_err(|error| internal(&error))?;
            // Who is frozen does not even die (of version 1).
            let group_name = name.to_owned();
            blocking(move || LaunchSpec::group(&group_name)?.thaw_all()).await?;
            // An error means that the waiting task is gone, which happens after it has sent.
            let _ = ended.wait_for(|ended| *ended).await;
        }
        self.known().remove(name);
        Ok(())
    }
}

fn internal(error: &SysError) -> Status {
    Status::internal(error.line())
}

/// Runs what blocks in a thread beside the runtime's.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SysError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| internal(&error)),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}
