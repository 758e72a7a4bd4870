//! What was seen, until the host boots again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Verdict;

/// What a verdict holds for. Another boot may have another kernel; another user may not open the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Situation {
    /// /proc/sys/kernel/random/boot_id (random(4)).
    boot: String,
    user: u32,
    /// The device's number, mode and owners; `None` where there is none.
    device: Option<[u64; 4]>,
    /// Which questions were asked: [`QUESTIONS`].
    questions: u32,
}

/// Increase when a verdict tells more.
const QUESTIONS: u32 = 2;

impl Situation {
    pub(super) fn now() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let device = fs::metadata("/dev/kvm").ok().map(|found| {
            let (mode, user, group) = (found.mode(), found.uid(), found.gid());
            [found.rdev(), mode.into(), user.into(), group.into()]
        });
        Self {
            boot: boot.trim().to_owned(),
            user: rustix::process::geteuid().as_raw(),
            device,
            questions: QUESTIONS,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    situation: Situation,
    verdict: Verdict,
}

/// What was seen in the same situation. A file that cannot be read is none.
pub(super) fn recall(file: &Path, situation: &Situation) -> Option<Verdict> {
    let kept: Kept = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    (kept.situation == *situation).then_some(kept.verdict)
}

/// Writes it whole or not at all.
pub(super) fn keep(file: &Path, situation: &Situation, verdict: &Verdict) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let kept = Kept {
        situation: situation.clone(),
        verdict: verdict.clone(),
    };
    let making = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&making, &kept)?;
    making.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Accelerator;

    #[test]
    fn it_holds_for_the_same_situation_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("deep/accelerator.json");
        let now = Situation::now();
        assert!(!now.boot.is_empty());
        assert_eq!(recall(&file, &now), None);
        let verdict = Verdict::new(Accelerator::Tcg, "a test");
        keep(&file, &now, &verdict).unwrap();
        assert_eq!(recall(&file, &now), Some(verdict));
        let rebooted = Situation {
            boot: "another".into(),
            ..now.clone()
        };
        let somebody = Situation {
            user: now.user + 1,
            ..now.clone()
        };
        let opened = Situation {
            device: Some([2784, 0o20666, 0, 0]),
            ..now.clone()
        };
        for other in [rebooted, somebody, opened] {
            assert_eq!(recall(&file, &other), None, "{other:?}");
        }
        fs::write(&file, "{").unwrap();
        assert_eq!(recall(&file, &now), None);
    }
}
