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
    // Manifests of operators are large and deep, and they are the person's own.
    let budget = serde_saphyr::budget! {
        max_depth: 512,
        max_nodes: usize::MAX,
        max_events: usize::MAX,
        max_documents: usize::MAX,
        max_total_scalar_bytes: usize::MAX,
    };
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: budget,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_multiple_with_options::<IgnoredAny>(content, options)
        .err()
        .map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_accepted() {
        let crd = (0..100).fold("type: string".to_owned(), |inner, _| {
            format!("p: {{{inner}}}")
        });
        for content in [
            "a: b\n---\n# nothing\n---\nc: d\n",
            "a: 1\na: 2\n",
            "x: &a {b: c}\ny: *a\n",
            &crd,
        ] {
            assert_eq!(syntax_error(content), None, "{content}");
        }
        let large: String = (0..300_000).map(|n| format!("- {n}\n")).collect();
        assert_eq!(syntax_error(&large), None);
    }

    #[test]
    fn what_is_broken_or_endlessly_deep_is_refused() {
        for content in [
            "a: [b",
            "a: b: c",
            "a:\n\tb: c",
            "a: *b",
            &"[".repeat(100_000),
            &"a: {".repeat(100_000),
        ] {
            assert!(syntax_error(content).is_some(), "{}", &content[..4]);
        }
    }
}
