//! One log file, read forward in whole lines from any of its last lines on.
//!
//! The file may not exist yet, may be cut to nothing (see [`rotate`](super::rotate)) or be replaced; then reading goes on
//! at its new beginning.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;

use super::marks;
use super::time::{Clock, Micros, now};

/// How much is read at once; also the largest chunk, except for a longer line.
const CHUNK: usize = 64 * 1024;
/// How much is read above the first line for the time of it.
const ABOVE: u64 = 64 * 1024;
/// A line that is longer is handed out in parts of this size.
const LONGEST_LINE: usize = 1024 * 1024;

pub(super) struct Source {
    pub(super) component: String,
    pub(super) path: PathBuf,
    file: Option<File>,
    /// Where the next read begins.
    offset: u64,
    /// Read, but its newline has not been seen.
    unfinished: Vec<u8>,
    /// Tells when lines were written; `None` until the first are read.
    clock: Option<Clock>,
}

/// Whole lines, one after the other.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) data: Vec<u8>,
    /// When each was written.
    pub(super) times: Vec<Micros>,
}

impl Lines {
    /// Without those that were written before `since`.
    pub(super) fn since(self, since: Micros) -> Self {
        if self.times.iter().all(|time| *time >= since) {
            return self;
        }
        let mut left = Self::default();
        let lines = self.data.split_inclusive(|byte| *byte == b'\n');
        for (line, time) in lines.zip(&self.times).filter(|(_, time)| **time >= since) {
            left.data.extend_from_slice(line);
            left.times.push(*time);
        }
        left
    }
}

impl Source {
    pub(super) fn new(component: String, path: PathBuf) -> Self {
        Self {
            component,
            path,
            file: None,
            offset: 0,
            unfinished: Vec::new(),
            clock: None,
        }
    }

    /// Goes to a place where reading ended before; to the beginning when the log is shorter now.
    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        let file = File::open(&self.path)?;
        if file.metadata()?.len() >= offset {
            self.offset = offset;
            self.file = Some(file);
        }
        Ok(())
    }

    /// Where the lines begin that were not handed out yet.
    pub(super) fn place(&self) -> u64 {
        self.offset - self.unfinished.len() as u64
    }

    /// The times of lines that end at [`place`](Self::place).
    pub(super) fn timed(&mut self, data: Vec<u8>) -> Lines {
        // A newline may have been added to the last one.
        let begin = self.place().saturating_sub(data.len() as u64);
        let now = now();
        let clock = match &mut self.clock {
            Some(clock) => clock,
            none => {
                let above = begin.saturating_sub(ABOVE);
                let length = usize::try_from(begin - above).unwrap_or_default();
                let mut before = vec![0; length];
                let read = self
                    .file
                    .as_ref()
                    .map(|file| file.read_exact_at(&mut before, above));
                if !matches!(read, Some(Ok(()))) {
                    before.clear();
                }
                let clock = none.insert(Clock::default());
                clock.start(&before, marks::read(&self.path), now);
                clock
            }
        };
        let times = clock.times(begin, &data, now);
        Lines { data, times }
    }

    /// Goes to the beginning of the last `lines` lines; an unfinished one at the end counts.
    pub(super) fn seek_tail(&mut self, lines: u64) -> io::Result<()> {
        let file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        let mut left = lines;
        let mut position = length;
        let mut buffer = vec![0; CHUNK];
        'search: while position > 0 {
            let size = usize::try_from(position).map_or(CHUNK, |position| position.min(CHUNK));
            let begin = position - size as u64;
            file.read_exact_at(&mut buffer[..size], begin)?;
            for index in (0..size).rev() {
                let after = begin + index as u64 + 1;
                // The newline of the last line ends no line before it.
                if buffer[index] == b'\n' && after != length {
                    left = left.saturating_sub(1);
                    if left == 0 {
                        position = after;
                        break 'search;
                    }
                }
            }
            position = begin;
        }
        self.offset = position;
        self.file = Some(file);
        Ok(())
    }

    /// The next whole lines; `None` when there are no more yet.
    pub(super) fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; CHUNK];
        loop {
            self.reopen_when_replaced()?;
            let Some(file) = &self.file else {
                return Ok(None);
            };
            let length = file.read_at(&mut buffer, self.offset)?;
            if length == 0 {
                return Ok(None);
            }
            self.offset += length as u64;
            let new = &buffer[..length];
            if let Some(newline) = new.iter().rposition(|byte| *byte == b'\n') {
                let mut lines = std::mem::take(&mut self.unfinished);
                lines.extend_from_slice(&new[..=newline]);
                self.unfinished.extend_from_slice(&new[newline + 1..]);
                return Ok(Some(lines));
            }
            self.unfinished.extend_from_slice(new);
            if self.unfinished.len() >= LONGEST_LINE {
                return Ok(Some(self.take_unfinished()));
            }
        }
    }

    /// What was read of a line that has no end yet, ended.
    pub(super) fn take_unfinished(&mut self) -> Vec<u8> {
        let mut line = std::mem::take(&mut self.unfinished);
        if !line.is_empty() {
            line.push(b'\n');
        }
        line
    }

    fn reopen_when_replaced(&mut self) -> io::Result<()> {
        let now = match fs::metadata(&self.path) {
            Ok(now) => now,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let same = match &self.file {
            Some(file) => {
                let open = file.metadata()?;
                (open.dev(), open.ino()) == (now.dev(), now.ino())
            }
            None => false,
        };
        if !same {
            self.file = Some(File::open(&self.path)?);
        }
        if !same && self.offset > 0 || now.len() < self.offset {
            self.offset = 0;
            self.unfinished.clear();
            self.clock = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn log(content: &str) -> (tempfile::TempDir, Source) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        fs::write(&path, content).unwrap();
        (directory, Source::new("x".into(), path))
    }

    fn append(source: &Source, text: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&source.path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn next(source: &mut Source) -> Option<String> {
        source
            .next_chunk()
            .unwrap()
            .map(|chunk| String::from_utf8(chunk).unwrap())
    }

    #[test]
    fn the_tail_is_counted_in_lines() {
        for (content, lines, expected) in [
            ("a\nb\nc\n", 2, Some("b\nc\n")),
            ("a\nb\nc\n", 1, Some("c\n")),
            ("a\nb\nc\n", 9, Some("a\nb\nc\n")),
            ("a\nb\nc", 2, Some("b\n")),
            ("\n\n\n", 2, Some("\n\n")),
            ("", 2, None),
        ] {
            let (_directory, mut source) = log(content);
            source.seek_tail(lines).unwrap();
            assert_eq!(
                next(&mut source).as_deref(),
                expected,
                "{lines} of {content:?}"
            );
        }
    }

    #[test]
    fn the_tail_of_a_large_log_is_found() {
        let content: String = (0..100_000)
            .map(|number| format!("line {number}\n"))
            .collect();
        let (_directory, mut source) = log(&content);
        source.seek_tail(20_000).unwrap();
        assert!(next(&mut source).unwrap().starts_with("line 80000\n"));
    }

    #[test]
    fn only_whole_lines_are_handed_out() {
        let (_directory, mut source) = log("one\ntw");
        assert_eq!(next(&mut source).unwrap(), "one\n");
        assert_eq!(next(&mut source), None);
        append(&source, "o\nthree\n");
        assert_eq!(next(&mut source).unwrap(), "two\nthree\n");
        append(&source, "end");
        assert_eq!(next(&mut source), None);
        assert_eq!(source.take_unfinished(), b"end\n");
    }

    #[test]
    fn a_log_that_was_cut_or_replaced_is_read_from_its_beginning() {
        let (directory, mut source) = log("a long line before\n");
        next(&mut source).unwrap();
        fs::write(&source.path, "cut\n").unwrap();
        assert_eq!(next(&mut source).unwrap(), "cut\n");
        let other = directory.path().join("other");
        fs::write(&other, "replaced by more\n").unwrap();
        fs::rename(&other, &source.path).unwrap();
        assert_eq!(next(&mut source).unwrap(), "replaced by more\n");
    }

    #[test]
    fn reading_goes_on_where_it_ended() {
        let (_directory, mut source) = log("one\ntwo\nthr");
        next(&mut source).unwrap();
        assert_eq!(source.place(), 8);
        let mut again = Source::new("x".into(), source.path.clone());
        again.seek(8).unwrap();
        append(&source, "ee\n");
        assert_eq!(next(&mut again).unwrap(), "three\n");
        // Of a log that was cut meanwhile everything is new.
        let mut again = Source::new("x".into(), source.path.clone());
        again.seek(800).unwrap();
        assert_eq!(next(&mut again).unwrap(), "one\ntwo\nthree\n");
    }

    #[test]
    fn lines_have_times_and_those_above_the_first_count() {
        let (_directory, mut source) =
            log("2026-11-21T19:00:00Z panic\nat x.go\n2026-11-21T19:00:01Z on\n");
        let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        source.seek_tail(2).unwrap();
        let data = source.next_chunk().unwrap().unwrap();
        let lines = source.timed(data);
        assert_eq!(lines.times[1], time("2026-11-21T19:00:01Z"));
        let late = lines.since(time("2026-11-21T19:00:00.5Z"));
        assert!(late.data.ends_with(b"Z on\n"), "{late:?}");
    }

    #[test]
    fn a_log_may_come_later() {
        let directory = tempfile::tempdir().unwrap();
        let mut source = Source::new("x".into(), directory.path().join("x.log"));
        assert_eq!(next(&mut source), None);
        fs::write(&source.path, "first\n").unwrap();
        assert_eq!(next(&mut source).unwrap(), "first\n");
    }

    #[test]
    fn a_line_without_end_is_handed_out_in_parts() {
        let (_directory, mut source) = log(&"x".repeat(LONGEST_LINE + 10));
        assert_eq!(
            source.next_chunk().unwrap().unwrap().len(),
            LONGEST_LINE + 1
        );
        assert_eq!(source.next_chunk().unwrap(), None);
        assert_eq!(source.take_unfinished().len(), 11);
    }
}
