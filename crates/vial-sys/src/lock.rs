//! A file that one process holds at a time (flock(2)); the kernel lets go of it when the holder dies.
//!
//! ```text
//! free ── try_take ──► held ── sign ──► held, and its holder is known ── drop ──► free, no file
//!                        └─────────── the holder is killed ────────────────────► free, the file stays
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use serde::{Deserialize, Serialize};

use crate::identity::{Identity, Process};
use crate::{During, SysError};

/// Held until it is dropped; the file goes with it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock on `path` (made when missing, in a directory that exists) unless another process has it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn try_take(path: &Path) -> Result<Option<Self>, SysError> {
        take(path).during(|| format!("lock {}", path.display()))
    }

    /// Writes down who holds it and at which socket that process can be asked, for [`holder`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sign(&self, answers_at: &Path) -> Result<(), SysError> {
        let signature = Signature {
            identity: Identity::of(std::process::id())?,
            answers_at: answers_at.into(),
        };
        let path = self.path.display();
        serde_json::to_vec(&signature)
            .map_err(io::Error::from)
            .and_then(|text| {
                self.file.set_len(0)?;
                self.file.write_all_at(&text, 0)
            })
            .during(|| format!("write {path}"))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// What is in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Signature {
    #[serde(flatten)]
    identity: Identity,
    answers_at: PathBuf,
}

/// Who holds a lock.
#[derive(Debug)]
pub struct Holder {
    /// Its pid in the pid namespace that it wrote it down in.
    pub pid: u32,
    /// Alive when it was looked for.
    pub process: Process,
    /// The socket at which it can be asked.
    pub answers_at: PathBuf,
}

/// The living process that signed the lock on `path`: it holds it, for only its end would free it.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn holder(path: &Path) -> Result<Option<Holder>, SysError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.during(|| format!("read {}", path.display()))?,
    };
    // Not signed yet, or just being signed: nobody is found by it.
    let Ok(signature) = serde_json::from_str::<Signature>(&text) else {
        return Ok(None);
    };
    let process = signature.identity.open()?;
    Ok(process.map(|process| Holder {
        pid: signature.identity.pid,
        process,
        answers_at: signature.answers_at,
    }))
}

fn take(path: &Path) -> io::Result<Option<Lock>> {
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other?,
        }
        // The former holder may have removed the file between our open and our lock: then it locks nothing.
        let same = fs::metadata(path)
            .is_ok_and(|found| file.metadata().is_ok_and(|own| own.ino() == found.ino()));
        if same {
            return Ok(Some(Lock {
                file,
                path: path.into(),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_no_file_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert!(Lock::try_take(&dir.path().join("other")).unwrap().is_some());
        drop(held);
        assert!(!path.exists());
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn who_signed_is_found_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert!(holder(&path).unwrap().is_none());
        let held = Lock::try_take(&path).unwrap().unwrap();
        assert!(holder(&path).unwrap().is_none(), "it may be anybody");
        held.sign(Path::new("/run/a/very/long/path/of/a.sock"))
            .unwrap();
        held.sign(Path::new("/run/a.sock")).unwrap();
        let found = holder(&path).unwrap().unwrap();
        assert_eq!(
            (found.pid, found.answers_at.to_str()),
            (std::process::id(), Some("/run/a.sock"))
        );
        // What a killed holder leaves, its pid taken by another process meanwhile.
        let mut signature: Signature = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        signature.identity.start_time -= 1;
        fs::write(&path, serde_json::to_string(&signature).unwrap()).unwrap();
        assert!(holder(&path).unwrap().is_none());
    }
}
