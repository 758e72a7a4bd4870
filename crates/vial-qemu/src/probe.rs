//! Whether this host really runs guests by KVM: seen by booting one.
//!
//! `/dev/kvm` says little: in nested clouds it opens, and no guest comes far. So a guest of a few bytes is booted with a
//! processor like the host's, as a node would be, under a time limit. It goes through what every kernel does first
//! (`guest.s`) and tells it through a port. What was seen is remembered until the host boots again.
//!
//! ```text
//! /dev/kvm cannot be opened ─────────────────────────────► tcg
//! opens ──► boot the guest ─┬─ it tells that all is well ─► kvm
//!                           └─ QEMU refuses, it calculates wrongly, is silent ─► tcg, with QEMU's words
//! ```

mod guest;
mod memory;

use std::ffi::OsString;
use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use vial_sys::ticks::Moment;

use crate::Program;

/// How long the guest may take: it needs some hundredths of a second, QEMU's own start included.
const LIMIT: Duration = Duration::from_secs(5);
/// How long the time stamp counter is looked at, at least.
const COUNTED: Duration = Duration::from_millis(50);
/// How much of what QEMU says is looked at, in lines.
const LINES: usize = 20;
/// What QEMU says when KVM gives a guest up; it then waits for somebody to look at it.
const GIVEN_UP: &str = "KVM internal error";

/// What runs a guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU, by translation: some ten times slower, on every host.
    Tcg,
}

impl fmt::Display for Accelerator {
    /// QEMU's word for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// What is to be used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What runs guests here.
    pub accelerator: Accelerator,
    /// What was seen, in one line.
    pub reason: String,
    /// How quickly the time stamp counter of this host counts, in kHz. An emulated guest has the same one, and no means to
    /// measure it that can be relied upon.
    pub tsc_khz: Option<u32>,
}

impl Verdict {
    fn new(accelerator: Accelerator, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            accelerator,
            reason,
            tsc_khz: None,
        }
    }
}

/// A verdict, and whether somebody should be told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What is to be used.
    pub verdict: Verdict,
    /// It was found out just now, for the first time since the host booted.
    pub new: bool,
}

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The guest's firmware could not be written to a temporary file.
    #[error("cannot write the guest that is booted as a trial")]
    Firmware(#[source] io::Error),
    /// QEMU could not be started.
    #[error("cannot start QEMU")]
    Start(#[source] io::Error),
    /// What was seen could not be kept.
    #[error("cannot remember whether KVM works in {}", file.display())]
    Remember {
        /// Where.
        file: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What runs guests on this host: from `file`, when that is of this boot and of this user, otherwise by trying it, which
/// is then remembered there.
///
/// # Errors
/// When it cannot be tried. That it does not work is no error.
pub async fn accelerator(program: &Program, file: &Path) -> Result<Known, ProbeError> {
    let situation = memory::Situation::now();
    if let Some(verdict) = memory::recall(file, &situation) {
        let new = false;
        return Ok(Known { verdict, new });
    }
    let begun = Moment::now();
    let mut verdict = attempt(program).await?;
    tokio::time::sleep(COUNTED).await;
    verdict.tsc_khz = Moment::now().khz_since(&begun);
    memory::keep(file, &situation, &verdict).map_err(|source| ProbeError::Remember {
        file: file.to_path_buf(),
        source,
    })?;
    Ok(Known { verdict, new: true })
}

/// What [`accelerator`] would find in `file`, without trying anything.
#[must_use]
pub fn remembered(file: &Path) -> Option<Verdict> {
    memory::recall(file, &memory::Situation::now())
}

/// Tries it, whatever was seen before.
///
/// # Errors
/// When it cannot be tried.
pub async fn attempt(program: &Program) -> Result<Verdict, ProbeError> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    if let Err(error) = device {
        return Ok(Verdict::new(Accelerator::Tcg, format!("/dev/kvm: {error}")));
    }
    let seen = boot(program, Accelerator::Kvm).await?;
    Ok(judge(&seen))
}

/// How the trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    end: End,
    /// What QEMU said.
    said: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// QEMU ended with that code; `None` is a signal.
    Code(Option<i32>),
    /// It was ended, because KVM had given up.
    GivenUp,
    /// It was ended after [`LIMIT`].
    Late,
}

/// What a trial means.
fn judge(seen: &Seen) -> Verdict {
    let words = seen.said.iter().find(|line| !line.contains("warning:"));
    let words = words.map(|line| line.trim_start_matches("qemu-system-x86_64: "));
    let tcg = |why: &str| {
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        Verdict::new(
            Accelerator::Tcg,
            format!("/dev/kvm opens, but {why}{words}"),
        )
    };
    match seen.end {
        End::Code(Some(guest::WELL)) => Verdict::new(Accelerator::Kvm, "a guest was booted"),
        End::Code(Some(guest::WRONG)) => tcg("a guest calculates wrongly"),
        End::Code(_) => tcg("QEMU cannot start a guest"),
        End::GivenUp => tcg("a guest does not come far"),
        End::Late => tcg(&format!("a guest is silent for {} s", LIMIT.as_secs())),
    }
}

/// What QEMU is told. `-cpu max` is the host's own processor under KVM, as for nodes.
fn arguments(firmware: &Path, accelerator: Accelerator) -> Vec<OsString> {
    let accelerator = accelerator.to_string();
    let words = [
        "-accel",
        &accelerator,
        "-machine",
        "pc",
        "-cpu",
        "max",
        "-m",
        "16",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-device",
        "isa-debug-exit,iobase=0xf4,iosize=0x04",
        "-bios",
    ];
    let mut arguments: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    arguments.push(firmware.into());
    arguments
}

async fn boot(program: &Program, accelerator: Accelerator) -> Result<Seen, ProbeError> {
    let firmware = tempfile::NamedTempFile::new().map_err(ProbeError::Firmware)?;
    std::fs::write(firmware.path(), guest::firmware()).map_err(ProbeError::Firmware)?;
    let mut qemu = program
        .command()
        .args(arguments(firmware.path(), accelerator))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(ProbeError::Start)?;
    let mut said = Vec::new();
    let stderr = qemu.stderr.take();
    let listened = async {
        let Some(stderr) = stderr else {
            return End::Code(None);
        };
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let given_up = line.contains(GIVEN_UP);
            if said.len() < LINES {
                said.push(line);
            }
            if given_up {
                return End::GivenUp;
            }
        }
        End::Code(qemu.wait().await.ok().and_then(|status| status.code()))
    };
    let end = tokio::time::timeout(LIMIT, listened).await;
    let end = end.unwrap_or(End::Late);
    // Where it has ended, there is nothing to kill.
    let _ = qemu.kill().await;
    Ok(Seen { end, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(end: End, said: &[&str]) -> Verdict {
        judge(&Seen {
            end,
            said: said.iter().map(|line| (*line).to_owned()).collect(),
        })
    }

    #[test]
    fn only_a_guest_that_tells_is_believed() {
        let well = seen(
            End::Code(Some(guest::WELL)),
            &["qemu-system-x86_64: warning: host doesn't support requested feature"],
        );
        assert_eq!(well.accelerator, Accelerator::Kvm);
        for end in [
            End::Code(Some(0)),
            End::Code(Some(1)),
            End::Code(None),
            End::Code(Some(guest::WRONG)),
            End::GivenUp,
            End::Late,
        ] {
            assert_eq!(seen(end, &[]).accelerator, Accelerator::Tcg, "{end:?}");
        }
    }

    #[test]
    fn the_reason_is_in_qemus_words() {
        let verdict = seen(
            End::Code(None),
            &[
                "qemu-system-x86_64: warning: something else",
                "qemu-system-x86_64: error: failed to set MSR 0x10a to 0xc000069",
                "qemu-system-x86_64: target/i386/kvm/kvm.c:3877: Assertion failed",
            ],
        );
        assert_eq!(
            verdict.reason,
            "/dev/kvm opens, but QEMU cannot start a guest: error: failed to set MSR 0x10a to 0xc000069"
        );
        assert_eq!(
            seen(End::GivenUp, &["KVM internal error. Suberror: 1"]).reason,
            "/dev/kvm opens, but a guest does not come far: KVM internal error. Suberror: 1"
        );
        assert_eq!(
            seen(End::Late, &[]).reason,
            "/dev/kvm opens, but a guest is silent for 5 s"
        );
    }

    /// The trial itself, where there is a QEMU: by translation every host can do it, so the guest is right.
    #[tokio::test]
    async fn the_guest_tells_that_all_is_well() {
        let Some(program) = crate::testing::program() else {
            return;
        };
        let seen = boot(&program, Accelerator::Tcg).await.unwrap();
        assert_eq!(seen.end, End::Code(Some(guest::WELL)), "{:?}", seen.said);
    }

    #[tokio::test]
    async fn what_was_seen_is_remembered_and_told_once() {
        let Some(program) = crate::testing::program() else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("accelerator.json");
        assert_eq!(remembered(&file), None);
        let first = accelerator(&program, &file).await.unwrap();
        assert!(first.new);
        // So that it would be seen if it was tried again.
        let kept = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, kept.replace(&first.verdict.reason, "remembered")).unwrap();
        let second = accelerator(&program, &file).await.unwrap();
        assert!(!second.new);
        assert_eq!(second.verdict.reason, "remembered");
        assert_eq!(remembered(&file).as_ref(), Some(&second.verdict));
        assert_eq!(second.verdict.tsc_khz, first.verdict.tsc_khz);
        assert_eq!(second.verdict.accelerator, first.verdict.accelerator);
    }
}
