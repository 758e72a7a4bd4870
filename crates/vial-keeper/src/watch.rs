//! What ends without being asked to: the sandbox, a node's container, an operation.
//!
//! ```text
//! container runs ──(ends by itself)──► fallen ──(nothing else is at work, BackOff)──► up to the remembered state ─┬─► runs
//!                                        ▲                                                                       │
//!                                        └──────────────────── told in log and status ◄──(failed)────────────────┘
//! ```
//! What counts is what is seen, not what was told: whatever ended while an operation was at work, or while there was no
//! keeper, is found by the next look.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use vial_rpc::container_status::State;
use vial_rpc::init_client::InitClient;
use vial_rpc::{Channel, ContainerStatus, ListContainersRequest, WatchContainersRequest};
use vial_sandbox::Sandbox;

use crate::api::{Start, UpRequest};
use crate::events::{About, What};
use crate::failure::chain;
use crate::keeper::Keeper;
use crate::operation::{By, Kind};
use crate::{machine, nodes};

/// Before the first process of the sandbox is asked again, when it did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Resolves when the operation at work, if any, has ended.
pub(crate) async fn until_operation_ends(keeper: &Arc<Keeper>) {
    if let Some(operation) = keeper.last() {
        operation.finished().await;
    }
}

/// Waits for the sandbox's end and sweeps what the kernel leaves; brings back nodes that fall meanwhile.
pub(crate) async fn sandbox(keeper: Arc<Keeper>, sandbox: Arc<dyn Sandbox>) {
    let nodes = tokio::spawn(bring_nodes_back(Arc::clone(&keeper), Arc::clone(&sandbox)));
    sandbox.ended().await;
    nodes.abort();
    drop(sandbox);
    // A `down` sweeps by itself, and so does who stops it.
    if matches!(keeper.busy(), Some(Kind::Down | Kind::State(_))) {
        return;
    }
    tracing::warn!(cluster = keeper.name, "the sandbox ended");
    keeper.tell(What::SandboxEnded, "the sandbox ended by itself");
    keeper.forget();
    let spec = vial_engine::execute::sandbox_spec(&keeper.paths, &keeper.name);
    if let Err(error) = keeper.maker.sweep(&spec).await {
        tracing::error!(error = %chain(&error), "cannot sweep");
    }
    keeper.swept();
}

/// Brings back containers that ended by themselves, for as long as the sandbox lives.
///
/// Boxed, since an `up` starts a watch and a watch starts an `up`.
fn bring_nodes_back(keeper: Arc<Keeper>, sandbox: Arc<dyn Sandbox>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut back_off = BackOff::default();
        let mut told = HashSet::new();
        loop {
            let watched = watch(&keeper, sandbox.as_ref(), &mut back_off, &mut told);
            if let Err(error) = watched.await {
                tracing::warn!(%error, "cannot watch the containers");
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// Ends only when the first process does not answer.
async fn watch(
    keeper: &Arc<Keeper>,
    sandbox: &dyn Sandbox,
    back_off: &mut BackOff,
    told: &mut HashSet<(String, u64)>,
) -> Result<(), vial_rpc::Status> {
    let channel = sandbox
        .init()
        .await
        .map_err(|error| vial_rpc::Status::unavailable(chain(&error)))?;
    let mut init = InitClient::new(channel);
    // From here on no end is missed; what ended before is seen by the first look.
    let events = init.watch_containers(WatchContainersRequest {}).await?;
    let mut events = events.into_inner();
    loop {
        until_operation_ends(keeper).await;
        let fallen = fallen(keeper, &mut init).await?;
        if fallen.is_empty() {
            if events.message().await?.is_none() {
                return Ok(());
            }
            continue;
        }
        for container in &fallen {
            if told.insert((container.name.clone(), container.since_unix_ms)) {
                tell(keeper, container);
            }
        }
        if leave(keeper, &fallen).await {
            continue;
        }
        tokio::time::sleep_until(back_off.next(Instant::now())).await;
        // Somebody may have mended it meanwhile, or be about to.
        if keeper.busy().is_none() {
            bring_back(keeper, &fallen, back_off).await;
        }
    }
}

fn tell(keeper: &Keeper, container: &ContainerStatus) {
    let about = About::node(&container.node);
    if machine::is_one(container) {
        let said = machine::last_words(keeper, container);
        let message = match said.as_str() {
            "" => "it ended by itself, its console said nothing".to_owned(),
            said => format!("it ended by itself, its console said last: {said}"),
        };
        return keeper.story.tell(What::MachineEnded, about, message);
    }
    let message = format!(
        "the container {} ended by itself (exit code {})",
        container.name, container.exit_code
    );
    keeper.story.tell(What::ContainerEnded, about, message);
}

/// Leaves machines as they are that are not to start again by themselves; whether there were some.
async fn leave(keeper: &Keeper, fallen: &[ContainerStatus]) -> bool {
    let Some(living) = keeper.living() else {
        return false;
    };
    let staying = fallen.iter().map(|container| container.node.clone());
    let staying: Vec<String> = staying
        .filter(|node| machine::stays(&living.plan, node))
        .collect();
    let left = match staying.is_empty() {
        true => return false,
        false => nodes::leave(keeper, &living, &staying).await,
    };
    left.inspect_err(|error| tracing::error!(error = %chain(error.as_ref()), "cannot be left"))
        .is_ok()
}

/// Containers of the plan that were made and do not run any more. Of nodes that were stopped nothing is missed.
async fn fallen(
    keeper: &Keeper,
    init: &mut InitClient<Channel>,
) -> Result<Vec<ContainerStatus>, vial_rpc::Status> {
    let Some(living) = keeper.living() else {
        return Ok(Vec::new());
    };
    let list = init.list_containers(ListContainersRequest {}).await?;
    let planned = |status: &ContainerStatus| {
        let mut containers = living.plan.running().flat_map(|node| &node.containers);
        containers.any(|container| container.spec.name == status.name)
    };
    let containers = list.into_inner().containers.into_iter();
    Ok(containers
        .filter(|status| status.state() == State::Ended && planned(status))
        .collect())
}

/// One attempt: an `up` to the remembered state.
async fn bring_back(keeper: &Arc<Keeper>, fallen: &[ContainerStatus], back_off: &mut BackOff) {
    let names: Vec<_> = fallen
        .iter()
        .map(|status| format!("{} (exit code {})", status.name, status.exit_code))
        .collect();
    let what = format!("ended by itself: {}", names.join(", "));
    let attempt = back_off.attempted(Instant::now());
    tracing::warn!(attempt, "{what}; bringing it back");
    let spec = match keeper.record() {
        Ok(Some(record)) => record.spec,
        // Removed, or damaged: nothing says what to bring back.
        Ok(None) => return,
        Err(error) => return keeper.set_trouble(Some(format!("{what}; {}", chain(&error)))),
    };
    let start = Start::default();
    let operation = keeper.up(UpRequest { spec, start }, By::Keeper);
    operation.finished().await;
    match operation.failure() {
        None => tracing::info!(attempt, "brought back"),
        Some(failure) => {
            let next = back_off.next(Instant::now()) - Instant::now();
            let next = next.as_secs();
            tracing::error!(attempt, next, failure, "not brought back");
            keeper.set_trouble(Some(format!(
                "{what}; attempt {attempt} to bring it back failed: {failure}; the next one is in {next} s"
            )));
        }
    }
}

/// When to try again.
#[derive(Debug, Default)]
struct BackOff {
    attempts: u32,
    last: Option<Instant>,
}

impl BackOff {
    /// After the first attempt; it doubles with each further one.
    const SHORTEST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(120);
    /// What held for so long is no repetition.
    const FORGET: Duration = Duration::from_secs(300);

    /// The earliest moment of the next attempt; the first one may be made at once.
    fn next(&self, now: Instant) -> Instant {
        let pause = Self::SHORTEST * 2_u32.saturating_pow(self.attempts.saturating_sub(1).min(8));
        self.last
            .map_or(now, |last| last + pause.min(Self::LONGEST))
    }

    /// Counts an attempt; tells which one it is.
    fn attempted(&mut self, now: Instant) -> u32 {
        if self.last.is_some_and(|last| now - last > Self::FORGET) {
            self.attempts = 0;
        }
        self.attempts += 1;
        self.last = Some(now);
        self.attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_what_held_is_forgotten() {
        let mut back_off = BackOff::default();
        let mut now = Instant::now();
        assert_eq!(back_off.next(now), now);
        let mut pauses = Vec::new();
        for attempt in 1..=7 {
            assert_eq!(back_off.attempted(now), attempt);
            pauses.push((back_off.next(now) - now).as_secs());
            now = back_off.next(now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 120, 120]);
        now += BackOff::FORGET + BackOff::LONGEST;
        assert_eq!(back_off.attempted(now), 1);
    }
}
