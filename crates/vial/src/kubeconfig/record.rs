//! What was merged where: `merged-kubeconfig.json` in the cluster's directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

const NAME: &str = "merged-kubeconfig.json";

/// One file that has the cluster's context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Merge {
    /// The kubeconfig.
    pub(super) path: PathBuf,
    /// The current context before the first merge.
    pub(super) previous: Option<String>,
    /// There was no such file before.
    pub(super) created: bool,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    merges: Vec<Merge>,
}

impl Record {
    /// Reads it; empty when there is none.
    pub(super) fn load(cluster_dir: &Path) -> Result<Self> {
        let path = cluster_dir.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::File {
                operation: "understand",
                path,
                source: error.into(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::file("read", path)(error)),
        }
    }

    /// Writes it atomically, or removes it when it is empty.
    pub(super) fn save(&self, cluster_dir: &Path) -> Result<()> {
        let path = cluster_dir.join(NAME);
        if self.merges.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(Error::file("remove", path)(error))
                }
                _ => Ok(()),
            };
        }
        let write = || -> io::Result<()> {
            let mut aside = tempfile::NamedTempFile::new_in(cluster_dir)?;
            serde_json::to_writer_pretty(&mut aside, self)?;
            aside.as_file().sync_all()?;
            aside.persist(&path)?;
            Ok(())
        };
        write().map_err(Error::file("write", &path))
    }

    /// Adds a merge. What was so before the first merge of a file stays remembered.
    pub(super) fn remember(&mut self, merge: Merge) {
        match self
            .merges
            .iter_mut()
            .find(|known| known.path == merge.path)
        {
            // A person chose another context meanwhile: that is now what was before. Another cluster of vial's is not a
            // person's choice, and will be gone as well.
            Some(known)
                if merge
                    .previous
                    .as_ref()
                    .is_some_and(|name| !name.starts_with("vial-")) =>
            {
                known.previous = merge.previous;
            }
            Some(_) => {}
            None => self.merges.push(merge),
        }
    }

    /// Removes the merge of a file.
    pub(super) fn forget(&mut self, path: &Path) {
        self.merges.retain(|known| known.path != path);
    }

    /// All merges.
    pub(super) fn merges(&self) -> Vec<Merge> {
        self.merges.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_and_goes_with_the_last_merge() {
        let dir = tempfile::tempdir().unwrap();
        let merge = |previous: Option<&str>| Merge {
            path: "/home/ana/.kube/config".into(),
            previous: previous.map(str::to_owned),
            created: false,
        };
        let mut record = Record::load(dir.path()).unwrap();
        assert_eq!(record, Record::default());
        record.remember(merge(Some("work")));
        record.remember(merge(None));
        record.remember(merge(Some("vial-two")));
        record.save(dir.path()).unwrap();
        let mut record = Record::load(dir.path()).unwrap();
        assert_eq!(record.merges(), [merge(Some("work"))]);
        record.remember(merge(Some("other")));
        assert_eq!(record.merges(), [merge(Some("other"))]);
        record.forget(Path::new("/home/ana/.kube/config"));
        record.save(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        record.save(dir.path()).unwrap();
    }
}
