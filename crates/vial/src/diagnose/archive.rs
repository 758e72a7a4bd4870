//! The archive itself: tar in gzip, made aside and renamed, readable by its owner only.

use std::fs::Permissions;
use std::io::{self, BufReader, Read as _, Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};
use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::kubeconfig::Environment;
use crate::ui::Ui;

/// Where an archive goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A file, replaced when it is there.
    File(PathBuf),
    /// Standard output, whole at the end.
    Output(Ui),
}

/// An archive in the making; nothing is left of one that is dropped.
pub(super) struct Archive {
    target: Target,
    /// The directory in it.
    title: String,
    tar: Builder<GzEncoder<NamedTempFile>>,
    /// Of all files, seconds since 1970.
    time: u64,
}

impl Archive {
    /// Begins an archive whose files lie in the directory `title`.
    pub(super) fn begin(target: Target, title: &str) -> Result<Self> {
        let directory = match &target {
            Target::File(path) => path
                .parent()
                .filter(|path| !path.as_os_str().is_empty())
                .unwrap_or(Path::new("."))
                .to_path_buf(),
            Target::Output(_) => std::env::temp_dir(),
        };
        let aside = tempfile::Builder::new()
            .prefix(".vial-diagnose-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(&directory)
            .map_err(|error| {
                Error::caused(
                    format!("cannot make a file in {}", directory.display()),
                    error,
                )
            })?;
        let time = jiff::Timestamp::now().as_second();
        Ok(Self {
            target,
            title: title.to_owned(),
            tar: Builder::new(GzEncoder::new(aside, Compression::default())),
            time: u64::try_from(time).unwrap_or_default(),
        })
    }

    /// Adds a file.
    pub(super) fn add(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        let path = format!("{}/{path}", self.title);
        let added = self.tar.append_data(&mut header, path, content);
        added.map_err(|error| self.failed(error))
    }

    /// Puts the archive where it belongs; its size.
    pub(super) fn end(self) -> Result<u64> {
        let target = self.target.clone();
        let failed = |error| failed(&target, error);
        let compressed = self.tar.into_inner().map_err(failed)?;
        let mut aside = compressed.finish().map_err(failed)?;
        aside.flush().map_err(failed)?;
        let size = aside.as_file().metadata().map_err(failed)?.len();
        match &target {
            Target::File(path) => {
                // Whoever called sudo is to send it to somebody.
                if let Some((uid, gid)) = Environment::of_process().sudo {
                    std::os::unix::fs::fchown(aside.as_file(), Some(uid), Some(gid))
                        .map_err(failed)?;
                }
                aside.as_file().sync_all().map_err(failed)?;
                aside.persist(path).map_err(|error| failed(error.error))?;
            }
            Target::Output(ui) => {
                aside.rewind().map_err(failed)?;
                let mut reader = BufReader::new(aside.as_file());
                let mut part = vec![0; 64 * 1024];
                loop {
                    match reader.read(&mut part).map_err(failed)? {
                        0 => break,
                        length => ui.data(&part[..length])?,
                    }
                }
            }
        }
        Ok(size)
    }

    fn failed(&self, error: io::Error) -> Error {
        failed(&self.target, error)
    }
}

fn failed(target: &Target, error: io::Error) -> Error {
    let what = match target {
        Target::File(path) => format!("cannot write the archive {}", path.display()),
        Target::Output(_) => "cannot write the archive".to_owned(),
    };
    Error::caused(what, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_there_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.tar.gz");
        let target = Target::File(path.clone());
        let mut archive = Archive::begin(target.clone(), "title").unwrap();
        archive.add("a/b.txt", b"hello").unwrap();
        drop(archive);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

        let mut archive = Archive::begin(target, "title").unwrap();
        archive.add("a/b.txt", b"hello").unwrap();
        let size = archive.end().unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.len(), metadata.permissions().mode() & 0o777),
            (size, 0o600)
        );
        let file = std::fs::File::open(&path).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut entry = tar.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap(), Path::new("title/a/b.txt"));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }
}
