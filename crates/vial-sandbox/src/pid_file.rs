//! The pid file: who the first process of a sandbox is, for whoever comes later.

use std::io;
use std::path::Path;

use vial_sys::identity::{Identity, Process};
use vial_sys::{During, SysError};

/// The living first process that the pid file `name` names.
pub(crate) fn find(run_dir: &Path, name: &str) -> Result<Option<(Identity, Process)>, SysError> {
    let path = run_dir.join(name);
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.during(|| format!("read {}", path.display()))?,
    };
    // It is renamed into place, so it is whole, or it is not ours; either way nobody is found by it.
    let Ok(identity) = serde_json::from_str::<Identity>(&text) else {
        return Ok(None);
    };
    Ok(identity.open()?.map(|process| (identity, process)))
}

/// Names a process in a pid file.
pub(crate) fn write(path: &Path, identity: &Identity) -> Result<(), SysError> {
    let operation = || format!("write {}", path.display());
    let text = serde_json::to_string(identity)
        .map_err(io::Error::from)
        .during(operation)?;
    let aside = path.with_extension("pid.new");
    std::fs::write(&aside, text).during(operation)?;
    std::fs::rename(&aside, path).during(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PID_FILE: &str = "init.pid";

    fn written(text: &str) -> Option<(Identity, Process)> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PID_FILE), text).unwrap();
        find(dir.path(), PID_FILE).unwrap()
    }

    #[test]
    fn finds_the_living_and_nobody_else() {
        let me = Identity::of(std::process::id()).unwrap();
        assert_eq!(written(&serde_json::to_string(&me).unwrap()).unwrap().0, me);
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join(PID_FILE), &me).unwrap();
        assert_eq!(find(dir.path(), PID_FILE).unwrap().unwrap().0, me);
        let before = Identity {
            start_time: me.start_time - 1,
            ..me
        };
        assert!(written(&serde_json::to_string(&before).unwrap()).is_none());
        assert!(written("{").is_none());
        assert!(find(Path::new("/nonexistent"), PID_FILE).unwrap().is_none());
    }
}
