//! Reading what happened; needs no keeper.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vial_engine::paths::Paths;

use super::{Happening, files, parse};

/// Reads a cluster's events, each once.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// The last event that was given.
    last: u64,
    /// Which file was read last, and how far.
    place: Option<(u64, u64)>,
}

impl Reader {
    /// From the oldest event that is kept.
    #[must_use]
    pub fn new(paths: &Paths, cluster: &str) -> Self {
        Self::of(&paths.cluster_dir(cluster))
    }

    pub(super) fn of(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            last: 0,
            place: None,
        }
    }

    /// Those that came since the last call, in the order in which they were told; all that are kept at the first one.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<Happening>> {
        let [present, before] = files(&self.dir);
        let Some(mut file) = open(&present)? else {
            return Ok(Vec::new());
        };
        let known = file.metadata()?.ino();
        let mut text = Vec::new();
        let from = match self.place {
            Some((file, at)) if file == known => at,
            _ => {
                if let Some(mut before) = open(&before)? {
                    before.read_to_end(&mut text)?;
                }
                0
            }
        };
        let older = text.len();
        file.seek(SeekFrom::Start(from))?;
        file.read_to_end(&mut text)?;
        // A line that is being written is left for the next time.
        let whole = text[older..].iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        self.place = Some((known, from + whole as u64));
        let events: Vec<_> = parse(&text).filter(|event| event.id > self.last).collect();
        self.last = events.last().map_or(self.last, |event| event.id);
        Ok(events)
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match fs::File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn line(id: u64) -> String {
        format!(
            "{{\"id\":{id},\"time\":\"2026-11-21T12:00:00.000Z\",\"kind\":\"changed\",\"severity\":\"normal\",\"message\":\"\"}}\n"
        )
    }

    fn ids(reader: &mut Reader) -> Vec<u64> {
        let events = reader.read().expect("a story");
        events.into_iter().map(|event| event.id).collect()
    }

    #[test]
    fn each_event_comes_once_over_new_files_and_pieces_of_lines() {
        let dir = tempfile::tempdir().expect("a directory");
        let [present, before] = files(dir.path());
        let write = |path: &Path, text: &str| {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(path);
            let file = file.as_mut().expect("opened");
            file.write_all(text.as_bytes()).expect("written");
        };
        let mut reader = Reader::of(dir.path());
        assert_eq!(ids(&mut reader), [0; 0]);
        write(&present, &line(1));
        assert_eq!(ids(&mut reader), [1]);
        let two = line(2);
        write(&present, &two[..20]);
        assert_eq!(ids(&mut reader), [0; 0]);
        write(&present, &two[20..]);
        write(&present, &line(3));
        fs::rename(&present, &before).expect("renamed");
        write(&present, "nonsense\n");
        write(&present, &line(4).replace("changed", "invented-later"));
        assert_eq!(ids(&mut reader), [2, 3, 4]);
        assert_eq!(ids(&mut reader), [0; 0]);
        assert_eq!(ids(&mut Reader::of(dir.path())), [1, 2, 3, 4]);
    }
}
