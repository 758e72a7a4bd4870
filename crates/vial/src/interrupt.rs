//! Ctrl-C and its relatives.

use tokio::signal::unix::{SignalKind, signal as on};

/// Returns when the person, or the machine, wants this process to end: SIGINT, SIGTERM or SIGHUP.
///
/// Once this was called, these signals no longer end the process by themselves.
pub(crate) async fn signal() {
    let of = |kind| async move {
        match on(kind) {
            Ok(mut stream) => {
                stream.recv().await;
            }
            // Without a handler the signal ends the process as usual.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = of(SignalKind::interrupt()) => {}
        () = of(SignalKind::terminate()) => {}
        () = of(SignalKind::hangup()) => {}
    }
}
