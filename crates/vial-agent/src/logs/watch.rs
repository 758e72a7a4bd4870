//! Waits for changes of files in directories (inotify(7)).
//!
//! Directories are watched, not files: a log may not exist yet. What exactly changed is not told; readers look.

use std::io;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe;

/// An inotify instance; tokio's pipe type reads any descriptor that epoll(7) knows.
pub(super) struct Watch(pipe::Receiver);

impl Watch {
    /// Fails when the user has too many of them (`fs.inotify.max_user_instances`).
    pub(super) fn new() -> io::Result<Self> {
        let instance = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        pipe::Receiver::from_owned_fd_unchecked(instance).map(Self)
    }

    /// Watches a directory; watching it twice is the same as once. One that does not exist yet is left for later.
    pub(super) fn add(&self, directory: &Path) {
        let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        if let Err(error) = inotify::add_watch(&self.0, directory, events) {
            tracing::debug!(directory = %directory.display(), %error, "not watched");
        }
    }

    /// Returns when something has changed since the last call.
    pub(super) async fn changed(&self) {
        let mut events = [0; 4096];
        loop {
            let Ok(()) = self.0.readable().await else {
                return;
            };
            let mut some = false;
            // Until there are no more.
            while self.0.try_read(&mut events).is_ok_and(|length| length > 0) {
                some = true;
            }
            if some {
                return;
            }
        }
    }
}
