//! Waits for the socket that QEMU serves, and connects to it.
//!
//! The file's appearance is told by inotify(7). Between the file and the first accepted connection there is nothing to
//! wait for: bind(2) makes the file, listen(2) is silent; a connection is refused in between, and tried again.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

use crate::readable::readable;

/// How long to wait at first when a connection is refused, and at most: a file may also be left of a QEMU that is gone.
const REFUSED: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(500));

#[derive(Debug, thiserror::Error)]
pub(super) enum WaitError {
    #[error("cannot watch {}", directory.display())]
    Watch {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("cannot connect to {}", path.display())]
    Connect { path: PathBuf, source: io::Error },
}

/// Connects to whoever serves `path`, as soon as somebody does.
pub(super) async fn connect(path: &Path) -> Result<UnixStream, WaitError> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let watch_error = |source| WaitError::Watch {
        directory: directory.to_path_buf(),
        source,
    };
    // First watch, then try: what comes in between is seen.
    let changes = watch(directory).map_err(watch_error)?;
    let mut pause = REFUSED.0;
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(REFUSED.1),
                    changed = change(&changes, path.file_name()) => {
                        changed.map_err(watch_error)?;
                        pause = REFUSED.0;
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                change(&changes, path.file_name())
                    .await
                    .map_err(watch_error)?;
            }
            Err(source) => {
                let path = path.to_path_buf();
                return Err(WaitError::Connect { path, source });
            }
        }
    }
}

fn watch(directory: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let kinds = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, directory, kinds)?;
    readable(changes)
}

/// Resolves when a file of that name has appeared, or when something was missed.
async fn change(changes: &AsyncFd<OwnedFd>, name: Option<&OsStr>) -> io::Result<()> {
    let mut seen = false;
    while !seen {
        let mut ready = changes.readable().await?;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let read = ready.try_io(|changes| {
            let mut events = inotify::Reader::new(changes, &mut buffer);
            loop {
                let event = events.next()?;
                let file = event.file_name().map(|name| name.to_bytes());
                seen |= file.is_none() || file == name.map(OsStr::as_encoded_bytes);
                if events.is_buffer_empty() {
                    return Ok(());
                }
            }
        });
        if let Ok(Err(error)) = read {
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_comes_later_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.sock");
        let waiting = tokio::spawn({
            let path = path.clone();
            async move { connect(&path).await.map(drop) }
        });
        tokio::task::yield_now().await;
        std::fs::write(directory.path().join("another"), "").unwrap();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_that_a_killed_machine_left_is_waited_for_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let waiting = tokio::spawn({
            let path = path.clone();
            async move { connect(&path).await.map(drop) }
        });
        tokio::task::yield_now().await;
        std::fs::remove_file(&path).unwrap();
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_does_not_exist_is_an_error() {
        let error = connect(Path::new("/nonexistent/link.sock"))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot watch /nonexistent");
    }
}
