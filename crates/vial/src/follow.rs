//! What a keeper does, followed to its end.

use futures::{Stream, StreamExt as _};
use vial_keeper::api::{ClusterStatus, Event};
use vial_keeper::client::ClientError;

use crate::context::keeper_error;
use crate::error::{Code, Error, Result};
use crate::interrupt;
use crate::ui::Progress;

/// Shows the events of an operation; what is there in the end, `None` when the cluster is gone.
///
/// # Errors
/// Why it failed, in the keeper's words; or that it was not waited for: it goes on in the background.
pub(crate) async fn follow(
    cluster: &str,
    events: std::result::Result<
        impl Stream<Item = std::result::Result<Event, ClientError>>,
        ClientError,
    >,
    progress: &mut Progress,
) -> Result<Option<ClusterStatus>> {
    let failed = |error| keeper_error(cluster, error);
    let mut events = std::pin::pin!(events.map_err(failed)?);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = interrupt::signal() => {
                let what = "interrupted; it goes on in the background".to_owned();
                return Err(Error::new(Code::Interrupted, what)
                    .hint("the same command shows it again".to_owned()));
            }
        };
        match event {
            Some(Ok(Event::Done { status })) => return Ok(status.map(|status| *status)),
            Some(Ok(Event::Failed {
                message,
                hint,
                code,
            })) => return Err(Error::told(code, &message, hint)),
            Some(Ok(event)) => progress.event(&event),
            Some(Err(error)) => return Err(failed(error)),
            None => {
                let what = format!("the keeper of cluster `{cluster}` ended before it was done");
                return Err(Error::new(Code::Failed, what).hint("do the same again"));
            }
        }
    }
}

/// The same where a cluster is there in the end.
///
/// # Errors
/// As for [`follow`]; also when it was removed meanwhile.
pub(crate) async fn to_status(
    cluster: &str,
    events: std::result::Result<
        impl Stream<Item = std::result::Result<Event, ClientError>>,
        ClientError,
    >,
    progress: &mut Progress,
) -> Result<ClusterStatus> {
    follow(cluster, events, progress).await?.ok_or_else(|| {
        let what = format!("cluster `{cluster}` was removed meanwhile");
        Error::new(Code::Conflict, what)
    })
}
