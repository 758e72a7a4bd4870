//! Kubernetes objects to apply: read, and looked at closely enough to find a broken file before anything starts.

use std::path::Path;

use serde::de::IgnoredAny;

use super::{FieldPath, Problems, ReadFile};
use crate::Manifest;
use crate::file::ManifestEntry;

pub(super) fn resolve(
    entries: Vec<ManifestEntry>,
    read: ReadFile<'_>,
    problems: &mut Problems,
) -> Vec<Manifest> {
    let path = FieldPath::root().key("manifests");
    let mut found: Vec<Manifest> = Vec::new();
    let mut inline = 0;
    for (number, entry) in entries.into_iter().enumerate() {
        let mut place = path.index(number);
        let manifest = match entry {
            ManifestEntry::Path(file) => match read(Path::new(&file)) {
                Ok(content) => Manifest {
                    name: file,
                    content,
                },
                Err(error) => {
                    problems.add(&place, format!("cannot read {file:?}: {error}"));
                    continue;
                }
            },
            ManifestEntry::Inline(manifest) => {
                inline += 1;
                place = place.key("content");
                let name = manifest.name.unwrap_or_else(|| format!("inline {inline}"));
                Manifest {
                    name,
                    content: manifest.content,
                }
            }
        };
        if manifest.content.trim().is_empty() {
            problems.add(&place, format!("the manifest {:?} is empty", manifest.name));
        } else if let Some(message) = syntax_error(&manifest.content) {
            problems.add(
                &place,
                format!("the manifest {:?} is not YAML: {message}", manifest.name),
            );
        }
        found.push(manifest);
    }
    found
}

/// Only the syntax: what objects mean is for the API server to say.
fn syntax_error(content: &str) -> Option<String> {
    // Manifests of operators are large, so nothing is counted; they are the person's own.
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: None,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_multiple_with_options::<IgnoredAny>(content, options)
        .err()
        .map(|error| error.to_string())
}
