//! The lock that kubectl takes: `FILE.lock`, made with O_EXCL, removed afterwards.
//!
//! Source: `lockFile` in `k8s.io/client-go/tools/clientcmd/loader.go`. kubectl gives up at once when the lock is there;
//! vial waits a while, because clusters come up in parallel. A process that is killed leaves its lock behind, for
//! kubectl as for vial: then the error names the file.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// Held while a kubeconfig is read, changed and written.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of `file`, whose directory exists.
    pub(super) fn take(file: &Path) -> Result<Self> {
        Self::take_within(file, PATIENCE)
    }

    fn take_within(file: &Path, patience: Duration) -> Result<Self> {
        let path = path_of(file);
        let give_up = Instant::now() + patience;
        loop {
            match fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
            {
                Ok(_) => return Ok(Self { path }),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::file("lock", file)(error));
                }
                Err(_) if Instant::now() >= give_up => {
                    return Err(Error::Locked {
                        path: file.into(),
                        lock: path,
                    });
                }
                // There is nothing to wait on: the holder only removes a file.
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// `config` → `config.lock`, beside the name that was given, not beside what a link points to: as kubectl does.
pub(super) fn path_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".lock");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it_and_it_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let lock = Lock::take(&file).unwrap();
        let error = Lock::take_within(&file, Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("config.lock"), "{error}");
        assert!(error.hint().unwrap().contains("config.lock"));
        drop(lock);
        Lock::take_within(&file, Duration::ZERO).unwrap();
    }

    #[test]
    fn who_waits_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let lock = Lock::take(&file).unwrap();
        let waiter = std::thread::spawn({
            let file = file.clone();
            move || Lock::take(&file).map(drop)
        });
        drop(lock);
        waiter.join().unwrap().unwrap();
    }
}
