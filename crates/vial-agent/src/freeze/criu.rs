//! CRIU's command lines, and what its logs say of a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vial_sys::session::{Terminal, prepare};

use super::FreezeError;
use crate::launch::{agent_path, find_program};
use crate::reaper::{Leftovers, Reaper};

/// The log's name, in the directory that CRIU works in.
const LOG: &str = "criu.log";

/// How many lines of a log make a reason.
const REASONS: usize = 3;

/// What is said to both directions:
/// - connections among components come back as they were,
/// - a connection that was not accepted yet is left out: whoever made it tries again,
/// - locks on files are taken again (etcd's store),
/// - control groups are the agent's own,
/// - sockets of others (a syslog) are connected anew,
/// - nobody is kept from sending meanwhile: by iptables that would take 20 ms a connection, and everybody is halted.
const BOTH: [&str; 8] = [
    "--tcp-established",
    "--skip-in-flight",
    "--file-locks",
    "--manage-cgroups=ignore",
    "--ext-unix-sk",
    "--network-lock",
    "skip",
    "--leave-running",
];

/// The program.
pub(super) struct Criu {
    program: PathBuf,
}

/// What one run does.
pub(super) enum Run<'a> {
    /// Of the process and its children, to the directory; they stay as they are.
    Dump { pid: i32, images: &'a Path },
    /// From the directory; `scratch` is for CRIU's own files.
    Restore { images: &'a Path, scratch: &'a Path },
}

impl Criu {
    /// Finds it.
    pub(super) fn find() -> Result<Self, FreezeError> {
        let path = agent_path();
        match find_program("criu", &path, Path::new("/")) {
            Some(program) => Ok(Self { program }),
            None => Err(FreezeError::NoCriu { path }),
        }
    }

    /// Runs it to its end; what it says on failure is the error.
    pub(super) async fn run(&self, reaper: &Reaper, run: &Run<'_>) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments(run))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        prepare(&mut command, Terminal::None, None);
        let child = reaper.spawn(&mut command, Leftovers::Leave);
        let child = child.map_err(|error| format!("criu does not start: {error}"))?;
        let log = match run {
            Run::Dump { images, .. } => images.join(LOG),
            Run::Restore { scratch, .. } => scratch.join(LOG),
        };
        let code = child.exit.await.unwrap_or(255);
        let said = fs::read_to_string(&log).unwrap_or_default();
        match code {
            0 => {
                // Only of interest after a failure.
                let _ = fs::remove_file(&log);
                Ok(())
            }
            code => Err(reason(&said).unwrap_or_else(|| format!("criu ended with code {code}"))),
        }
    }
}

fn arguments<'a>(run: &Run<'a>) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = Vec::new();
    let mut add = |words: &[&dyn AsRef<std::ffi::OsStr>]| {
        arguments.extend(words.iter().map(|word| word.as_ref().to_owned()));
    };
    match run {
        Run::Dump { pid, images } => {
            add(&[&"dump", &"--tree", &pid.to_string()]);
            add(&[&"--images-dir", images]);
        }
        Run::Restore { images, scratch } => {
            add(&[&"restore", &"--restore-detached", &"--restore-sibling"]);
            add(&[&"--images-dir", images, &"--work-dir", scratch]);
        }
    }
    add(&[&"--log-file", &LOG]);
    for word in BOTH {
        add(&[&word]);
    }
    arguments
}

/// The last errors of a log, without times, places and those that tell nothing.
///
/// A line is `(00.012345) Error (criu/sk-inet.c:123): inet: what went wrong`.
fn reason(log: &str) -> Option<String> {
    let errors = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("Error (")?;
        let (_, text) = rest.split_once("): ")?;
        Some(text.trim())
    });
    let telling = errors.filter(|text| {
        let says_nothing = text.ends_with("FAILED.") || text.contains("RLIMIT_NOFILE for self");
        !says_nothing && !text.is_empty()
    });
    let telling: Vec<&str> = telling.collect();
    let last = &telling[telling.len().saturating_sub(REASONS)..];
    (!last.is_empty()).then(|| last.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_last_errors_of_the_log() {
        let log = "\
(00.000100) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.010000) Warn  (criu/x.c:1): never mind
(00.052345) Error (criu/sk-inet.c:191): inet: Unsupported proto 262 for socket 1a
(00.060000) Error (criu/cr-dump.c:1701): Dump files (pid: 1003) failed with -1
(00.070000) Error (criu/cr-dump.c:2128): Dumping FAILED.
";
        let expected =
            "inet: Unsupported proto 262 for socket 1a; Dump files (pid: 1003) failed with -1";
        assert_eq!(reason(log).as_deref(), Some(expected));
        assert_eq!(reason(""), None);
        assert_eq!(reason("Error (criu/x.c:1): Restoring FAILED.\n"), None);
    }

    #[test]
    fn both_directions_agree_on_what_is_dumped() {
        let images = Path::new("/images");
        let dump = arguments(&Run::Dump { pid: 1003, images });
        let scratch = Path::new("/scratch");
        let restore = arguments(&Run::Restore { images, scratch });
        assert_eq!(
            dump[..5],
            ["dump", "--tree", "1003", "--images-dir", "/images"]
        );
        assert!(restore.iter().any(|word| word == "--restore-sibling"));
        for word in BOTH {
            assert!(dump.iter().any(|other| other == word), "{word}");
            assert!(restore.iter().any(|other| other == word), "{word}");
        }
    }
}
