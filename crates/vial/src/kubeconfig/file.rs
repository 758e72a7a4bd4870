//! Reading and replacing a kubeconfig on disk.

use std::fs;
use std::io;
use std::path::Path;

use super::document::Document;
use super::error::{Error, Result};
use crate::replace;

/// `None` when there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Document>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::file("read", path)(error)),
    };
    let damaged = |reason| Error::Damaged {
        path: path.into(),
        reason,
    };
    let text = String::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
    Document::parse(&text).map(Some).map_err(damaged)
}

/// Writes `path` whole and atomically, mode 0600; a symbolic link stays one and the file it names is replaced.
///
/// An existing file keeps its owner, a new one gets `owner`.
pub(super) fn replace(path: &Path, document: &Document, owner: Option<(u32, u32)>) -> Result<()> {
    let yaml = document.to_yaml().map_err(|reason| Error::Damaged {
        path: path.into(),
        reason,
    })?;
    replace::replace(path, yaml.as_bytes(), owner).map_err(Error::file("write", path))
}

/// Removes the file that a link names as well as the link.
pub(super) fn remove(path: &Path) -> Result<()> {
    replace::remove(path).map_err(Error::file("remove", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_new_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        replace(&path, &Document::default(), None).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(read(&path).unwrap(), Some(Document::default()));
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn links_are_followed_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        let (link, second, real) = (
            dir.path().join("config"),
            dir.path().join("second"),
            dir.path().join("real/file"),
        );
        std::os::unix::fs::symlink("second", &link).unwrap();
        std::os::unix::fs::symlink("real/file", &second).unwrap();
        // The file need not be there yet.
        replace(&link, &Document::default(), None).unwrap();
        replace(&link, &Document::default(), None).unwrap();
        assert!(link.is_symlink() && second.is_symlink());
        assert!(real.is_file() && !real.is_symlink());
    }

    #[test]
    fn a_ring_of_links_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("b", dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", dir.path().join("b")).unwrap();
        assert!(replace(&dir.path().join("a"), &Document::default(), None).is_err());
    }

    #[test]
    fn bytes_that_are_no_text_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
        assert!(matches!(read(&path), Err(Error::Damaged { .. })));
        assert!(read(&dir.path().join("missing")).unwrap().is_none());
    }
}
