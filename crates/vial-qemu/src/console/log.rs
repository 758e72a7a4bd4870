//! The log of a console: its end, and what is added to it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How far back is looked for lines at most, in bytes.
const FAR: u64 = 1 << 20;

/// An open log, read up to some place.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    path: PathBuf,
    read: u64,
}

impl Log {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            path: path.to_path_buf(),
            read: 0,
        })
    }

    /// Whether nobody else has it; it is held until this is dropped.
    pub(super) fn lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The last lines, a last one without an end included.
    pub(super) fn tail(&mut self, lines: usize) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len();
        self.read = length.saturating_sub(FAR);
        let mut text = self.added()?;
        text.drain(..start_of_last(&text, lines));
        Ok(text)
    }

    /// What was added since it was read last. One that has become shorter is a new one.
    pub(super) fn added(&mut self) -> io::Result<Vec<u8>> {
        if self.file.metadata()?.len() < self.read {
            self.read = 0;
        }
        self.file.seek(SeekFrom::Start(self.read))?;
        let mut added = Vec::new();
        self.file.read_to_end(&mut added)?;
        self.read += added.len() as u64;
        Ok(added)
    }

    /// Tells when something is written to it (inotify(7)).
    pub(super) fn changes(&self) -> io::Result<Changes> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let changes = inotify::init(flags)?;
        inotify::add_watch(&changes, &self.path, inotify::WatchFlags::MODIFY)?;
        #[expect(
            deprecated,
            reason = "an OwnedFd is what it says; the successor is unsafe for the sake of types that lie"
        )]
        AsyncFd::with_interest(changes, Interest::READABLE).map(Changes)
    }
}

/// See [`Log::changes`].
#[derive(Debug)]
pub(super) struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// Resolves when something was written since the last time.
    pub(super) async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let heard = ready.try_io(|changes| {
                let mut events = inotify::Reader::new(changes, &mut buffer);
                events.next()?;
                while !events.is_buffer_empty() {
                    events.next()?;
                }
                Ok(())
            });
            if let Ok(heard) = heard {
                return heard;
            }
        }
    }
}

/// Where the last lines begin.
fn start_of_last(text: &[u8], lines: usize) -> usize {
    let whole = text.strip_suffix(b"\n").unwrap_or(text);
    if lines == 0 {
        return text.len();
    }
    let ends = whole.iter().enumerate().rev();
    let mut ends = ends.filter(|(_, byte)| **byte == b'\n');
    ends.nth(lines - 1).map_or(0, |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_the_end() {
        for (text, lines, expected) in [
            ("", 3, ""),
            ("one", 0, ""),
            ("one\n", 1, "one\n"),
            ("one\ntwo", 1, "two"),
            ("one\ntwo\n", 1, "two\n"),
            ("one\ntwo\nthree", 2, "two\nthree"),
            ("\n\n\n", 2, "\n\n"),
            ("one\ntwo\n", 9, "one\ntwo\n"),
        ] {
            let start = start_of_last(text.as_bytes(), lines);
            assert_eq!(&text[start..], expected, "{text:?}, {lines}");
        }
    }

    #[test]
    fn a_log_that_was_emptied_is_read_from_its_beginning() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a long first life\n").unwrap();
        let mut log = Log::open(file.path()).unwrap();
        assert_eq!(log.tail(1).unwrap(), b"a long first life\n");
        assert_eq!(log.added().unwrap(), b"");
        std::fs::write(file.path(), "second\n").unwrap();
        assert_eq!(log.added().unwrap(), b"second\n");
    }
}
