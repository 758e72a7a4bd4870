//! The one thread that makes sockets in other network namespaces.
//!
//! ```text
//! at home ──(a request)──► enter, open, go home ──► at home      no request: it waits in its own namespace
//!                                   └─ cannot: the thread ends, the next request starts another one
//! ```
//! Between requests it keeps no namespace alive but its own, and no connection costs a thread.

use std::io;
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;
use vial_sys::namespace::enter_network;

use crate::NetError;
use crate::error::During;
use crate::namespace::own;

type Work = Box<dyn FnOnce() + Send>;

/// Where the thread takes its work from, once there is one.
static QUEUE: Mutex<Option<mpsc::Sender<Work>>> = Mutex::new(None);

/// Runs `work`, which may enter a network namespace, and gives its result.
pub(crate) async fn make<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetError> + Send + 'static,
) -> Result<T, NetError> {
    let (sender, receiver) = oneshot::channel();
    // Nobody listens any more when the caller was cancelled; what was made is dropped.
    enqueue(Box::new(move || drop(sender.send(work()))))?;
    receiver
        .await
        .map_err(io::Error::other)
        .during(|| "wait for the thread that makes sockets".to_owned())?
}

fn enqueue(mut work: Work) -> Result<(), NetError> {
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(sender) = &*queue {
        match sender.send(work) {
            Ok(()) => return Ok(()),
            // It ended since it could not go home.
            Err(mpsc::SendError(back)) => work = back,
        }
    }
    let sender = start()?;
    // A thread that was just started listens.
    let _ = sender.send(work);
    *queue = Some(sender);
    Ok(())
}

fn start() -> Result<mpsc::Sender<Work>, NetError> {
    let home = own()?;
    let (sender, works) = mpsc::channel::<Work>();
    std::thread::Builder::new()
        .name("vial-sockets".to_owned())
        .spawn(move || {
            for work in works {
                work();
                if let Err(error) = enter_network(&home) {
                    tracing::error!(error = error.line(), "lost in a network namespace");
                    return;
                }
            }
        })
        .during(|| "start the thread that makes sockets".to_owned())?;
    Ok(sender)
}
