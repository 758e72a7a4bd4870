//! Kubernetes objects to apply: read, and looked at closely enough to find a broken file before anything starts.

use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

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
        } else if let Some(message) = mistake(&manifest.content) {
            problems.add(
                &place,
                format!("the manifest {:?} {message}", manifest.name),
            );
        }
        found.push(manifest);
    }
    found
}

/// What every Kubernetes object begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: Option<String>,
    kind: Option<String>,
}

/// Only the syntax and the head of each document: what objects mean is for the API server to say.
fn mistake(content: &str) -> Option<String> {
    // The syntax of all comes first, since its message says where.
    if let Err(message) = documents::<IgnoredAny>(content) {
        return Some(format!("is not YAML: {message}"));
    }
    let Ok(heads) = documents::<Option<Head>>(content) else {
        return Some(
            "has a document that is no object: each begins with apiVersion and kind".into(),
        );
    };
    let filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let headless = |head: &Option<Head>| {
        head.as_ref()
            .is_some_and(|head| !filled(&head.api_version) || !filled(&head.kind))
    };
    heads
        .iter()
        .any(headless)
        .then(|| "has a document without apiVersion or without kind".into())
}

fn documents<T: DeserializeOwned>(content: &str) -> Result<Vec<T>, String> {
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
    serde_saphyr::from_multiple_with_options(content, options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_accepted() {
        let head = "apiVersion: v1\nkind: X\n";
        let crd = (0..100).fold("type: string".to_owned(), |inner, _| {
            format!("p: {{{inner}}}")
        });
        for content in [
            "---\n---\n# nothing\n---\napiVersion: v1\nkind: X\n---\n",
            &format!("{head}a: 1\na: 2\n"),
            &format!("{head}x: &a {{b: c}}\ny: *a\n"),
            &format!("{head}{crd}\n"),
            "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}",
        ] {
            assert_eq!(mistake(content), None, "{content}");
        }
        let many: String = (0..300_000).map(|n| format!("- {n}\n")).collect();
        assert_eq!(mistake(&format!("{head}x:\n{many}")), None);
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
            let message = mistake(content).unwrap_or_default();
            assert!(message.contains("not YAML"), "{message}: {}", &content[..4]);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for content in [
            "x",
            "- a\n",
            "kind: Namespace\n",
            "apiVersion: v1\nkind:\n",
            "apiVersion: v1\nkind: Namespace\n---\napiVersion: v1\n",
        ] {
            let message = mistake(content).unwrap_or_default();
            assert!(message.contains("apiVersion"), "{message}: {content}");
        }
    }
}
