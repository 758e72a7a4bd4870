//! The invoking person's kubeconfig: merges a cluster's context into it, takes it out again.
//!
//! ```text
//!  up ──► lock FILE.lock ─► read ─► merge ─► remember (merged-kubeconfig.json) ─► replace FILE ─► unlock
//!  down ─► for each remembered file: lock ─► read ─► unmerge ─► replace ─► unlock ─► forget
//! ```
//!
//! # Invariants
//! - Only entries named `vial-NAME` are ever added, replaced or removed; all others, fields that vial does not know and
//!   the order of everything stay. Comments are lost, as with kubectl.
//! - A file that cannot be understood is refused and left as it is.
//! - A reader sees the old file or the new one; the lock is the one that kubectl takes.
//! - What was merged is remembered before it is merged: after a kill at any point the next `down` takes it out.

mod document;
mod error;
mod file;
mod lock;
mod place;
mod record;

use std::path::{Path, PathBuf};

pub(crate) use document::{Access, Document};
pub(crate) use error::Error;
pub(crate) use place::{Environment, Place};

use error::Result;
use lock::Lock;
use record::{Merge, Record};

/// The name of the context, the cluster and the user of a vial cluster.
pub(crate) fn context_name(cluster: &str) -> String {
    format!("vial-{cluster}")
}

/// Refuses early, before anything is made, what [`merge`] would refuse at the end.
///
/// # Errors
/// When the file is there and cannot be read or understood.
pub(crate) fn check(place: &Place) -> Result<()> {
    file::read(&place.path).map(drop)
}

/// Puts the cluster's context into the file at `place` and makes it the current one.
///
/// `cluster_dir` is where it is remembered.
///
/// # Errors
/// When the file is locked, damaged or cannot be written.
pub(crate) fn merge(place: &Place, cluster_dir: &Path, name: &str, access: &Access) -> Result<()> {
    place.make_directory()?;
    let _lock = Lock::take(&place.path)?;
    let read = file::read(&place.path)?;
    let existed = read.is_some();
    let mut document = read.unwrap_or_default();
    let before = document.clone();

    let mut record = Record::load(cluster_dir)?;
    let previous = document
        .current_context()
        .filter(|current| *current != context_name(name))
        .map(str::to_owned);
    record.remember(Merge {
        path: place.path.clone(),
        previous,
        created: !existed,
    });
    document.merge(name, access);
    if existed && document == before {
        return Ok(());
    }
    record.save(cluster_dir)?;
    file::replace(&place.path, &document, place.owner)
}

/// Takes the cluster's context out of every file into which it was merged, as far as that goes.
///
/// Returns the files that were changed and the errors of those that could not be; these stay remembered.
pub(crate) fn unmerge(cluster_dir: &Path, name: &str) -> (Vec<PathBuf>, Vec<Error>) {
    let mut record = match Record::load(cluster_dir) {
        Ok(record) => record,
        Err(error) => return (Vec::new(), vec![error]),
    };
    let (mut changed, mut errors) = (Vec::new(), Vec::new());
    for merge in record.merges() {
        match unmerge_one(&merge, name) {
            Ok(true) => {
                changed.push(merge.path.clone());
                record.forget(&merge.path);
            }
            Ok(false) => record.forget(&merge.path),
            Err(error) => errors.push(error),
        }
    }
    if let Err(error) = record.save(cluster_dir) {
        errors.push(error);
    }
    (changed, errors)
}

fn unmerge_one(merge: &Merge, name: &str) -> Result<bool> {
    // Looked at without the lock first: where nothing is, nothing has to be locked or made.
    if file::read(&merge.path)?.is_none() {
        return Ok(false);
    }
    let _lock = Lock::take(&merge.path)?;
    let Some(mut document) = file::read(&merge.path)? else {
        return Ok(false);
    };
    if !document.unmerge(name, merge.previous.as_deref()) {
        return Ok(false);
    }
    if merge.created && document.is_empty() {
        file::remove(&merge.path)?;
    } else {
        file::replace(&merge.path, &document, None)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        Access {
            server: "https://127.0.0.1:1".into(),
            ca: "CA".into(),
            certificate: "CERT".into(),
            key: "KEY".into(),
        }
    }

    struct Fixture {
        dir: tempfile::TempDir,
        place: Place,
    }

    impl Fixture {
        fn new(content: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("kube/config");
            if let Some(content) = content {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, content).unwrap();
            }
            Self {
                place: Place { path, owner: None },
                dir,
            }
        }

        fn cluster(&self, name: &str) -> PathBuf {
            self.dir.path().join("clusters").join(name)
        }

        fn merge(&self, name: &str) {
            std::fs::create_dir_all(self.cluster(name)).unwrap();
            merge(&self.place, &self.cluster(name), name, &access()).unwrap();
        }

        fn unmerge(&self, name: &str) -> Vec<PathBuf> {
            let (changed, errors) = unmerge(&self.cluster(name), name);
            assert!(errors.is_empty(), "{errors:?}");
            changed
        }

        fn current(&self) -> Option<String> {
            file::read(&self.place.path)
                .unwrap()?
                .current_context()
                .map(str::to_owned)
        }
    }

    const PEOPLE: &str = "apiVersion: v1\nkind: Config\ncurrent-context: work\ncontexts:\n- name: work\n  context: {cluster: a, user: b}\n";

    #[test]
    fn a_file_that_vial_made_is_gone_after_down() {
        let fixture = Fixture::new(None);
        fixture.merge("one");
        assert_eq!(fixture.current().as_deref(), Some("vial-one"));
        assert_eq!(
            fixture.unmerge("one"),
            std::slice::from_ref(&fixture.place.path)
        );
        assert!(!fixture.place.path.exists());
        assert!(!lock::path_of(&fixture.place.path).exists());
    }

    #[test]
    fn the_current_context_goes_back_to_what_it_was() {
        let fixture = Fixture::new(Some(PEOPLE));
        fixture.merge("one");
        fixture.merge("one");
        fixture.merge("two");
        fixture.unmerge("one");
        assert_eq!(
            fixture.current().as_deref(),
            Some("vial-two"),
            "it was not ours to change"
        );
        fixture.unmerge("two");
        // vial-one, which was current before, is gone: better none than one that does not exist.
        assert_eq!(fixture.current(), None);

        fixture.merge("one");
        fixture.unmerge("one");
        assert!(
            file::read(&fixture.place.path)
                .unwrap()
                .unwrap()
                .has_context("work")
        );
    }

    #[test]
    fn merging_again_keeps_what_was_current_before_the_first_time() {
        let fixture = Fixture::new(Some(PEOPLE));
        fixture.merge("one");
        fixture.merge("one");
        fixture.unmerge("one");
        assert_eq!(fixture.current().as_deref(), Some("work"));
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_alone() {
        let damaged = "apiVersion: v1\nclusters: {]\n";
        let fixture = Fixture::new(Some(damaged));
        let error = merge(&fixture.place, &fixture.cluster("one"), "one", &access()).unwrap_err();
        assert!(error.to_string().contains("config"), "{error}");
        assert_eq!(
            std::fs::read_to_string(&fixture.place.path).unwrap(),
            damaged
        );
        assert!(check(&fixture.place).is_err());
        assert!(
            !lock::path_of(&fixture.place.path).exists(),
            "the lock is given back"
        );
    }

    #[test]
    fn down_works_when_the_file_is_gone_and_tells_when_it_is_damaged() {
        let fixture = Fixture::new(Some(PEOPLE));
        fixture.merge("one");
        std::fs::write(&fixture.place.path, "[").unwrap();
        let (changed, errors) = unmerge(&fixture.cluster("one"), "one");
        assert!(changed.is_empty());
        assert_eq!(errors.len(), 1);
        std::fs::remove_file(&fixture.place.path).unwrap();
        assert_eq!(fixture.unmerge("one"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_second_file_is_remembered_beside_the_first() {
        let fixture = Fixture::new(Some(PEOPLE));
        fixture.merge("one");
        let other = Place {
            path: fixture.dir.path().join("other"),
            owner: None,
        };
        merge(&other, &fixture.cluster("one"), "one", &access()).unwrap();
        let mut changed = fixture.unmerge("one");
        changed.sort();
        assert_eq!(changed, [fixture.place.path.clone(), other.path.clone()]);
        assert!(!other.path.exists());
    }
}
