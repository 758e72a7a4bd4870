//! Doing things in another network namespace, each in a thread of its own that ends with it.
//!
//! A thread that has entered a namespace is never given back: a pool would hand it to somebody who expects the old one,
//! and a waiting thread would keep the namespace alive.

use std::fs::File;
use std::io;
use std::path::Path;

use tokio::sync::oneshot;
use vial_sys::mounts;
use vial_sys::namespace::{UnshareFlags, enter_network_at, unshare};

use crate::NetError;
use crate::error::During;

/// Runs `work` in a new thread, and gives its result.
pub(crate) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetError> + Send + 'static,
) -> Result<T, NetError> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("vial-netns".to_owned())
        // Nobody listens any more: the caller was cancelled.
        .spawn(move || drop(sender.send(work())))
        .during(|| "start a thread".to_owned())?;
    receiver
        .await
        .map_err(io::Error::other)
        .during(|| "wait for a thread".to_owned())?
}

/// Runs a netlink conversation in the namespace bound at `path`, or in the caller's when `None`.
pub(crate) async fn converse<F, T>(
    path: Option<std::path::PathBuf>,
    conversation: impl FnOnce(rtnetlink::Handle) -> F + Send + 'static,
) -> Result<T, NetError>
where
    F: Future<Output = Result<T, NetError>>,
    T: Send + 'static,
{
    in_thread(move || {
        if let Some(path) = path {
            enter_network_at(&path)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .during(|| "start a runtime".to_owned())?;
        runtime.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().during(|| "open netlink".to_owned())?;
            let speaking = tokio::spawn(connection);
            let result = conversation(handle).await;
            speaking.abort();
            result
        })
    })
    .await
}

/// Whether a network namespace is bound at `path`.
pub(crate) async fn exists(path: &Path) -> Result<bool, NetError> {
    let path = path.to_owned();
    // An empty file, left when a bind was interrupted, cannot be entered.
    in_thread(move || Ok(enter_network_at(&path).is_ok())).await
}

/// Makes a new network namespace and binds it at `path`.
pub(crate) async fn create(path: &Path) -> Result<(), NetError> {
    let path = path.to_owned();
    in_thread(move || {
        unshare(UnshareFlags::NEWNET)?;
        mounts::Tree::take(Path::new("/proc/thread-self/ns/net"))?.attach(&path)?;
        Ok(())
    })
    .await
}

/// Takes the name of a network namespace away; it ends when nothing uses it any more.
pub(crate) fn forget(path: &Path) -> Result<(), NetError> {
    // Not mounted: interrupted before the bind.
    let _ = mounts::detach(path);
    std::fs::remove_file(path).during(|| format!("remove {}", path.display()))
}

/// The network namespace of the calling thread's process.
pub(crate) fn own() -> Result<File, NetError> {
    File::open("/proc/self/ns/net").during(|| "open the own network namespace".to_owned())
}
