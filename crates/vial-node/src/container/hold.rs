//! Containers in which nothing runs for a while.
//!
//! ```text
//! running ── hold ──► halting ── all have halted ──► held, told ── nobody listens any more ──► running
//!                        │ one does not halt                                                      ▲
//!                        └──── error ─────────────────────────────────────────────────────────────┘
//! ```
//! Whoever wanted it may be killed at any moment: the kernel then closes its connection, and the hold ends.

use futures::future::join_all;
use tokio::sync::mpsc;
use tonic::Status;
use vial_rpc::HoldContainersReply;
use vial_sys::SysError;
use vial_sys::cgroup::Group;

use super::spec::LaunchSpec;
use crate::network::check_name;

/// What a client gets: one message or an error.
pub(crate) type Holds = mpsc::Receiver<Result<HoldContainersReply, Status>>;

/// Groups that go on at its drop.
struct Held(Vec<Group>);

impl Drop for Held {
    fn drop(&mut self) {
        for group in &self.0 {
            if let Err(error) = group.thaw() {
                tracing::error!("{}", error.line());
            }
        }
    }
}

/// Holds containers as long as somebody listens.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is no name.
pub(crate) fn hold(names: &[String]) -> Result<Holds, Status> {
    names.iter().try_for_each(|name| check_name(name))?;
    let groups = names.iter().map(|name| LaunchSpec::group(name));
    let groups: Result<Vec<_>, _> = groups.collect();
    let groups = groups.map_err(|error| Status::internal(error.line()))?;
    let (replies, queue) = mpsc::channel(1);
    tokio::spawn(async move {
        // Before the first one halts: whatever happens, all go on.
        let held = Held(groups.clone());
        let halting = groups
            .into_iter()
            .map(|group| tokio::task::spawn_blocking(move || group.freeze()));
        let mut halted = join_all(halting).await.into_iter();
        let halted = halted.try_for_each(|one| {
            one.unwrap_or_else(|error| Err(SysError::other("halt containers", error.to_string())))
        });
        match halted {
            Ok(()) => {
                if replies.send(Ok(HoldContainersReply {})).await.is_ok() {
                    replies.closed().await;
                }
            }
            Err(error) => drop(replies.send(Err(Status::internal(error.line()))).await),
        }
        drop(held);
    });
    Ok(queue)
}
