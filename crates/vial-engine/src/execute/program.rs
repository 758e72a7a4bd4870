//! vial's own binary where sandboxes bind it from: a copy that a later build of vial does not overwrite.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::paths::Paths;
use crate::{Error, Result};

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
    let aside = target.with_extension(std::process::id().to_string());
    fs::copy(&own, &aside).map_err(Error::file("write", &aside))?;
    let times =
        fs::FileTimes::new().set_modified(facts.modified().map_err(Error::file("look at", &own))?);
    let copy = fs::File::options()
        .write(true)
        .open(&aside)
        .map_err(Error::file("open", &aside))?;
    // A copy of the copy (a keeper runs from one) must find itself again.
    copy.set_times(times)
        .map_err(Error::file("touch", &aside))?;
    drop(copy);
    fs::rename(&aside, &target).map_err(Error::file("write", &target))?;
    remove_others(&dir, &target);
    Ok(target)
}

/// Removes the copies of earlier builds. What runs from one, or has it bound, keeps the file that has no name any more.
fn remove_others(dir: &Path, current: &Path) {
    let others = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for other in others.filter(|other| other != current) {
        // It costs disk, nothing else, when one stays.
        let _ = fs::remove_file(other);
    }
}
