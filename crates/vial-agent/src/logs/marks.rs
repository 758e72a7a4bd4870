//! When logs were seen to grow: the times of lines that say none themselves.
//!
//! Components write their logs without the agent, so it looks at them once a second, and before a component is started.
//! When one has grown and its last line says no time, `NAME.log.times` beside it gets a line `LENGTH MILLISECONDS`, in
//! decimal: the log was that long when it was last written, at that time since 1970. Logs whose lines have times get no
//! such file. It is removed when the log is cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::time::{Micros, now, stamp};

/// How much of a log's end is looked at for its last line.
const LAST: u64 = 4096;
/// Of a file of marks as much is read as marks a log of the greatest length could have.
const LARGEST: u64 = 8 * 1024 * 1024;

/// By this time the log was this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// In bytes.
    pub(super) length: u64,
    /// When it was last written then.
    pub(super) time: Micros,
}

/// The file of a log's marks.
pub(super) fn beside(log: &Path) -> PathBuf {
    let mut path = log.as_os_str().to_os_string();
    path.push(".times");
    path.into()
}

/// The marks of a log, oldest first; none when they cannot be read.
pub(super) fn read(log: &Path) -> Vec<Mark> {
    let path = beside(log);
    let small = fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() < LARGEST);
    let text = match small {
        true => fs::read_to_string(path).unwrap_or_default(),
        false => String::new(),
    };
    let mark = |line: &str| {
        let (length, millis) = line.split_once(' ')?;
        Some(Mark {
            length: length.parse().ok()?,
            time: millis.parse::<Micros>().ok()?.checked_mul(1000)?,
        })
    };
    text.lines().filter_map(mark).collect()
}

/// Notes that a log has grown, when its last line needs it. `seen`: its length at the last look.
pub(crate) fn note(log: &Path, seen: &mut u64) -> io::Result<()> {
    let (length, written) = match fs::metadata(log) {
        Ok(found) if found.is_file() => (found.len(), found.modified()?),
        _ => return Ok(()),
    };
    if std::mem::replace(seen, length) == length || length == 0 {
        return Ok(());
    }
    let mut end = vec![0; usize::try_from(length.min(LAST)).unwrap_or_default()];
    let begin = length - end.len() as u64;
    File::open(log)?.read_exact_at(&mut end, begin)?;
    let text = end.strip_suffix(b"\n").unwrap_or(&end);
    let last = text.rsplit(|byte| *byte == b'\n').next().unwrap_or(text);
    if stamp(last, now()).is_some() {
        return Ok(());
    }
    let written = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut options = OpenOptions::new();
    let mut marks = options.append(true).create(true).open(beside(log))?;
    marks.write_all(format!("{length} {}\n", written.as_millis()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_without_a_time_are_marked() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("x.log");
        let mut seen = 0;
        note(&log, &mut seen).unwrap();
        fs::write(&log, "2026-11-21T19:00:00Z one\n").unwrap();
        note(&log, &mut seen).unwrap();
        assert_eq!(read(&log), []);
        fs::write(&log, "2026-11-21T19:00:00Z one\nServer listening\n").unwrap();
        let before = now() - 1_000_000;
        for _ in 0..2 {
            note(&log, &mut seen).unwrap();
        }
        let marks = read(&log);
        assert_eq!(marks.len(), 1, "{marks:?}");
        assert_eq!(marks[0].length, 42);
        assert!(marks[0].time >= before && marks[0].time <= now());
        fs::write(beside(&log), "what\n1 2 3\n7 8\n").unwrap();
        assert_eq!(
            read(&log),
            [Mark {
                length: 7,
                time: 8000
            }]
        );
    }
}
