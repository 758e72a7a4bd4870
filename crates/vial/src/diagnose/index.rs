//! What is in an archive, what is not, and why: its README.txt.

use std::fmt::Write as _;

use super::Subject;

/// Lines of the index.
#[derive(Debug, Default)]
pub(super) struct Index {
    added: Vec<(String, String, usize)>,
    failed: Vec<(String, String, String)>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Files in the archive.
    pub(crate) files: usize,
    /// What could not be gathered.
    pub(crate) failed: usize,
    /// Of the archive.
    pub(crate) bytes: u64,
}

impl Index {
    /// A file was added.
    pub(super) fn added(&mut self, path: String, what: String, bytes: usize) {
        self.added.push((path, what, bytes));
    }

    /// Something could not be gathered.
    pub(super) fn failed(&mut self, path: String, what: String, why: String) {
        self.failed.push((path, what, why));
    }

    pub(super) fn summary(&self, bytes: u64) -> Summary {
        Summary {
            // And the index.
            files: self.added.len() + 1,
            failed: self.failed.len(),
            bytes,
        }
    }

    /// For whoever reads the archive.
    pub(super) fn readme(&mut self, subject: &Subject) -> String {
        self.added.sort();
        self.failed.sort();
        let about = match &subject.cluster {
            Some(cluster) => format!("the cluster {cluster}"),
            None => "this machine".to_owned(),
        };
        let mut text = format!(
            "What `vial diagnose` of vial {} gathered about {about}, at {}.\n\n{REMOVED}\n",
            env!("CARGO_PKG_VERSION"),
            jiff::Timestamp::now(),
        );
        if self.failed.is_empty() {
            text += "All was gathered.\n";
        } else {
            text += "NOT GATHERED\n\n";
            for (path, what, why) in &self.failed {
                let why = why.trim().replace('\n', "\n    ");
                let _ = writeln!(text, "{path}: {what}\n    {why}");
            }
        }
        text += "\nFILES\n\n";
        let width = self
            .added
            .iter()
            .map(|(path, ..)| path.chars().count())
            .max();
        let width = width.unwrap_or(0).min(72);
        for (path, what, bytes) in &self.added {
            let _ = writeln!(text, "{path:width$}  {bytes:>9}  {what}");
        }
        text
    }
}

const REMOVED: &str = "\
Removed, before it was written, and marked as [removed]:
  - keys, tokens and hashes of passwords, whatever they are in: by their form, also encoded in base64
  - values beside names like password, token, secret, key, in flags, configurations and logs; user and password in URLs
  - all values of environment variables of pods and components
  - the content of files and manifests of vial.yaml
  - Secrets: their names are told, nothing of what they hold. Where it appears elsewhere, in a log, it is removed too
  - the annotation kubectl.kubernetes.io/last-applied-configuration
Not gathered at all: keys, kubeconfigs, the disks of nodes but their logs, the network of this machine.
What only you can know to be a secret may still be here: a word in a ConfigMap, in a log of your own. Look before you send it.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_tells_what_is_there_and_what_is_not() {
        let mut index = Index::default();
        index.added("b.txt".into(), "the second".into(), 7);
        index.added("a.txt".into(), "the first".into(), 12345);
        index.failed(
            "cluster/status.json".into(),
            "its state".into(),
            "no\nanswer".into(),
        );
        let subject = Subject {
            cluster: Some("dev".into()),
            title: "x".into(),
        };
        let text = index.readme(&subject);
        let (_, rest) = text.split_once("NOT GATHERED\n\n").unwrap();
        assert_eq!(
            rest,
            "cluster/status.json: its state\n    no\n    answer\n\nFILES\n\na.txt      12345  the first\nb.txt          7  the second\n"
        );
        assert!(text.contains("about the cluster dev"));
        assert_eq!(
            index.summary(5),
            Summary {
                files: 3,
                failed: 1,
                bytes: 5
            }
        );
    }
}
