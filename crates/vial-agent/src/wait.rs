//! Waits for the readiness of one component, and says why it does not come.

use std::path::Path;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tonic::Status;
use vial_rpc::component_status::State;
use vial_rpc::{ComponentStatus, WaitReadyRequest};

use crate::logs;
use crate::nearest::unknown_component;
use crate::supervisor::{Gone, Supervisor};

/// How long when the request does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// So many ends one after the other are no bad start any more: with the back-off between them they take some 13 s.
const CRASHES: u32 = 7;
/// The end of the log that goes into an error. An error travels in HTTP/2 trailers, which are limited to some 16 KiB.
const LINES: u64 = 10;
const LONGEST_LINE: usize = 300;

/// Returns the component's state as soon as it is ready.
///
/// Errors: NOT_FOUND (no such component), DEADLINE_EXCEEDED (not ready in time), FAILED_PRECONDITION (it runs once and
/// failed, ends again and again, or was removed meanwhile), UNAVAILABLE (the agent is ending).
pub(crate) async fn wait_ready(
    supervisor: &Supervisor,
    request: WaitReadyRequest,
) -> Result<ComponentStatus, Status> {
    let timeout = match request.timeout_ms {
        0 => DEFAULT_TIMEOUT,
        milliseconds => Duration::from_millis(milliseconds),
    };
    let name = request.name;
    let mut last = ComponentStatus::default();
    match tokio::time::timeout(timeout, until_decided(supervisor, &name, &mut last)).await {
        Ok(Ok(())) => Ok(last),
        Ok(Err(Undecided::Status(status))) => Err(status),
        Ok(Err(Undecided::Failed { how })) => {
            let text = format!("{name} {how}: {}", last.message);
            let text = with_log(supervisor, &name, text).await;
            Err(Status::failed_precondition(text))
        }
        Err(_elapsed) => {
            let state = last.state().as_str_name().to_ascii_lowercase();
            let why = if last.message.is_empty() {
                String::new()
            } else {
                format!(": {}", last.message)
            };
            let text = format!(
                "{name} is not ready after {:.1} s ({state}{why})",
                timeout.as_secs_f64()
            );
            Err(Status::deadline_exceeded(
                with_log(supervisor, &name, text).await,
            ))
        }
    }
}

enum Undecided {
    Failed { how: &'static str },
    Status(Status),
}

impl From<Gone> for Undecided {
    fn from(gone: Gone) -> Self {
        Self::Status(Status::unavailable(gone.to_string()))
    }
}

async fn until_decided(
    supervisor: &Supervisor,
    name: &str,
    last: &mut ComponentStatus,
) -> Result<(), Undecided> {
    let mut restarts_before = None;
    loop {
        let mut subscription = supervisor.subscribe().await?;
        let once = supervisor
            .specs()
            .await?
            .iter()
            .any(|spec| spec.name == name && spec.foreground_once);
        let names: Vec<&str> = subscription
            .present
            .iter()
            .map(|status| status.name.as_str())
            .collect();
        let present = subscription
            .present
            .iter()
            .find(|status| status.name == name);
        let unknown = || Undecided::Status(Status::not_found(unknown_component(name, &names)));
        let mut status = present.ok_or_else(unknown)?.clone();
        loop {
            *last = status;
            let before = *restarts_before.get_or_insert(last.restarts);
            match last.state() {
                State::Ready => return Ok(()),
                State::Backoff if once && last.last_exit_code != 0 => {
                    return Err(Undecided::Failed { how: "failed" });
                }
                State::Backoff if last.restarts.saturating_sub(before) >= CRASHES => {
                    return Err(Undecided::Failed {
                        how: "ends again and again",
                    });
                }
                State::Stopped => {
                    let why = format!(
                        "{name} was stopped while somebody waited for it ({})",
                        last.message
                    );
                    return Err(Undecided::Status(Status::failed_precondition(why)));
                }
                _ => {}
            }
            status = loop {
                match subscription.changes.recv().await {
                    Ok(change) if change.name == name => break change,
                    Ok(_) => {}
                    Err(RecvError::Closed) => return Err(Gone.into()),
                    // Too much happened to be told; look anew.
                    Err(RecvError::Lagged(_)) => break ComponentStatus::default(),
                }
            };
            if status.name.is_empty() {
                break;
            }
        }
    }
}

/// `text`, followed by the last lines of the component's log.
async fn with_log(supervisor: &Supervisor, name: &str, mut text: String) -> String {
    let specs = supervisor.specs().await.unwrap_or_default();
    if let Some(spec) = specs
        .iter()
        .find(|spec| spec.name == name && !spec.log_file.is_empty())
    {
        let lines = logs::last_lines(Path::new(&spec.log_file), LINES, LONGEST_LINE);
        if lines.is_empty() {
            text.push_str(&format!("\n{} is empty", spec.log_file));
        } else {
            text.push_str(&format!("\nlast lines of {}:", spec.log_file));
            for line in lines {
                text.push_str("\n  ");
                text.push_str(&line);
            }
        }
    }
    text
}
