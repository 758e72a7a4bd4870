//! Looks after logs: notes when they grew ([`marks`]), and keeps them small: a large one is copied to `NAME.1` and cut.
//!
//! The component holds the file open for appending, so renaming would not move what it writes; cutting does. What is
//! written between the copy and the cut is lost, as with logrotate's `copytruncate`.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::marks;
use crate::supervisor::Supervisor;

/// A larger log is cut.
const LARGEST: u64 = 50 * 1024 * 1024;
/// Between two looks at the sizes.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after all components' logs until the supervisor is gone.
pub(crate) async fn rotate(supervisor: Supervisor) {
    let mut seen: HashMap<PathBuf, u64> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(specs) = supervisor.specs().await else {
            return;
        };
        for path in specs.iter().map(|spec| PathBuf::from(&spec.log_file)) {
            let seen = seen.entry(path.clone()).or_default();
            if let Err(error) = marks::note(&path, seen) {
                tracing::debug!(path = %path.display(), %error, "cannot note that a log grew");
            }
            let large =
                fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() > LARGEST);
            if large {
                let cut =
                    tokio::task::spawn_blocking(move || cut(&path).map_err(|error| (path, error)))
                        .await;
                if let Ok(Err((path, error))) = cut {
                    tracing::warn!(path = %path.display(), %error, "cannot cut a log");
                }
            }
        }
    }
}

fn cut(path: &Path) -> io::Result<()> {
    let mut older = path.as_os_str().to_os_string();
    older.push(".1");
    fs::copy(path, &older)?;
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    match fs::remove_file(marks::beside(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn who_appends_goes_on_in_the_cut_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let mut writer = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap();
        writer.write_all(b"before\n").unwrap();
        cut(&path).unwrap();
        writer.write_all(b"after\n").unwrap();
        assert_eq!(
            fs::read_to_string(directory.path().join("x.log.1")).unwrap(),
            "before\n"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }
}
