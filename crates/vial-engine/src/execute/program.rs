//! vial's own binary where sandboxes bind it from: a copy that a later build of vial does not overwrite.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::paths::Paths;
use crate::{Error, Result};

/// How a copy is called while it is written, followed by the writer's pid.
const ASIDE: &str = ".new-";

/// The path of a copy of the running program, made when it is missing.
///
/// # Errors
/// When it cannot be written.
pub fn installed(paths: &Paths) -> Result<PathBuf> {
    // The link names a deleted file after an upgrade; opening it still gives the running program.
    let own = PathBuf::from("/proc/self/exe");
    let facts = fs::metadata(&own).map_err(Error::file("look at", &own))?;
    let dir = paths.home.join("bin");
    let name = format!(
        "vial-{}-{:x}-{:x}",
        env!("CARGO_PKG_VERSION"),
        facts.size(),
        facts.mtime_nsec() ^ facts.mtime()
    );
    let target = dir.join(name);
    if target.exists() {
        return Ok(target);
    }
    fs::create_dir_all(&dir).map_err(Error::file("make", &dir))?;
    let aside = dir.join(format!("{ASIDE}{}", std::process::id()));
    let written = copy(&own, &facts, &aside)
        .and_then(|()| fs::rename(&aside, &target).map_err(Error::file("write", &target)));
    if written.is_err() {
        // On a full disk a part of it would be there for nothing.
        let _ = fs::remove_file(&aside);
    }
    written?;
    remove_others(&dir, &target);
    Ok(target)
}

/// Writes a copy that finds itself again: a keeper, which runs from one, installs the same name.
fn copy(own: &Path, facts: &fs::Metadata, aside: &Path) -> Result<()> {
    fs::copy(own, aside).map_err(Error::file("write", aside))?;
    let times =
        fs::FileTimes::new().set_modified(facts.modified().map_err(Error::file("look at", own))?);
    let copy = fs::File::options()
        .write(true)
        .open(aside)
        .map_err(Error::file("open", aside))?;
    copy.set_times(times).map_err(Error::file("touch", aside))
}

/// Removes the copies of earlier builds that no sandbox has bound: those hold a lock (see `vial_node::init`). A file
/// without a name could still run, but the kernel does not mount it anew (move_mount(2) answers ENOENT), so that a
/// living cluster could get no further container.
fn remove_others(dir: &Path, current: &Path) {
    let others = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for other in others.filter(|other| other != current) {
        let name = other.file_name().unwrap_or_default().to_string_lossy();
        let writing = name
            .strip_prefix(ASIDE)
            .is_some_and(|pid| Path::new("/proc").join(pid).exists());
        let unused = fs::File::open(&other).is_ok_and(|file| file.try_lock().is_ok());
        if unused && !writing {
            // It costs disk, nothing else, when one stays.
            let _ = fs::remove_file(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_a_sandbox_has_bound_stays() {
        let home = tempfile::tempdir().expect("a directory");
        let bin = home.path().join("bin");
        fs::create_dir(&bin).expect("made");
        let (bound, idle) = (bin.join("vial-bound"), bin.join("vial-idle"));
        let written = bin.join(format!("{ASIDE}{}", std::process::id()));
        let torn = bin.join(format!("{ASIDE}0"));
        for file in [&bound, &idle, &written, &torn] {
            fs::write(file, "earlier").expect("written");
        }
        let lock = fs::File::open(&bound).expect("open");
        lock.lock_shared().expect("locked");
        let current = bin.join("vial-current");
        fs::write(&current, "now").expect("written");
        remove_others(&bin, &current);
        assert!(current.exists() && bound.exists() && written.exists());
        assert!(!idle.exists() && !torn.exists());
        drop(lock);
        remove_others(&bin, &current);
        assert!(current.exists() && !bound.exists());
    }

    #[test]
    fn a_copy_is_made_once_and_finds_itself() {
        let home = tempfile::tempdir().expect("a directory");
        let paths = Paths {
            home: home.path().into(),
            run: home.path().join("run"),
        };
        let first = installed(&paths).expect("installed");
        assert_eq!(installed(&paths).expect("installed"), first);
        let found = fs::read_dir(home.path().join("bin")).expect("there");
        assert_eq!(found.count(), 1);
    }
}
