//! Who owns a cluster: the holder of `$VIAL_HOME/clusters/NAME.lock`.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use vial_engine::paths::Paths;

/// Held until dropped; the file goes with it.
pub(crate) struct Owner {
    file: fs::File,
    path: PathBuf,
}

impl Owner {
    /// Takes the lock unless somebody has it.
    pub(crate) fn try_take(paths: &Paths, name: &str) -> io::Result<Option<Self>> {
        let path = paths.lock_file(name);
        private_dir(&paths.clusters_dir())?;
        loop {
            let file = fs::File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                other => other?,
            }
            // The former owner may have removed the file between our open and our lock: then it locks nothing.
            let same = fs::metadata(&path)
                .is_ok_and(|found| file.metadata().is_ok_and(|own| own.ino() == found.ino()));
            if same {
                return Ok(Some(Self { file, path }));
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Makes a directory that only its owner may enter.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_at_a_time_and_no_file_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths {
            home: dir.path().into(),
            run: dir.path().join("run"),
        };
        let owner = Owner::try_take(&paths, "a").expect("works").expect("free");
        assert!(Owner::try_take(&paths, "a").expect("works").is_none());
        assert!(Owner::try_take(&paths, "b").expect("works").is_some());
        drop(owner);
        assert!(!paths.lock_file("a").exists());
        assert!(Owner::try_take(&paths, "a").expect("works").is_some());
    }
}
