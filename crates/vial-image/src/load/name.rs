//! What a container image is called: the full form that containerd and the kubelet use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{LoadError, Result};
use crate::image::Reference;

/// `docker.io/library/nginx:1.29`: registry, repository and tag, as people's short forms are understood by every
/// container runtime (`nginx:1.29`; github.com/distribution/reference, `ParseNormalizedNamed`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl ImageName {
    /// The full form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kubelet asks a registry for images of this tag unless a pod says `imagePullPolicy`.
    pub fn is_latest(&self) -> bool {
        self.0.ends_with(":latest")
    }

    /// All that people write and mean this name, the full form first.
    pub fn spellings(&self) -> Vec<String> {
        let mut names = vec![self.0.clone()];
        if let Some(path) = self.0.strip_prefix("docker.io/") {
            let short = path.strip_prefix("library/");
            for path in [Some(path), short].into_iter().flatten() {
                for host in ["", "docker.io/", "index.docker.io/"] {
                    names.push(format!("{host}{path}"));
                }
            }
        }
        let untagged: Vec<String> = names
            .iter()
            .filter_map(|name| name.strip_suffix(":latest").map(str::to_owned))
            .collect();
        names.extend(untagged);
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// A name in an archive that is one: a bare word (`latest`, `v1`) is only the tag of an unknown name.
    pub(super) fn in_archive(text: &str) -> Option<Self> {
        text.contains([':', '/'])
            .then(|| text.parse().ok())
            .flatten()
    }
}

impl FromStr for ImageName {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |reason| LoadError::BadName {
            name: text.to_owned(),
            reason,
        };
        if text.contains('@') {
            return Err(bad("a digest is given by the content, not by the name"));
        }
        let (host, path) = match text.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => ("docker.io", text),
        };
        let host = if host == "index.docker.io" {
            "docker.io"
        } else {
            host
        };
        let library = if host == "docker.io" && !path.contains('/') {
            "library/"
        } else {
            ""
        };
        let full: Reference =
            format!("{host}/{library}{path}")
                .parse()
                .map_err(|error| match error {
                    crate::Error::BadReference { reason, .. } => bad(reason),
                    _ => bad("it cannot be read"),
                })?;
        Ok(Self(full.to_string()))
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ImageName {
    type Error = LoadError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_become_full_ones() {
        for (text, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.29", "docker.io/library/nginx:1.29"),
            ("me/app:v1", "docker.io/me/app:v1"),
            ("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
            ("localhost/app:v1", "localhost/app:v1"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().as_str(), full);
        }
    }

    #[test]
    fn every_spelling_means_the_name() {
        let spellings = |text: &str| text.parse::<ImageName>().unwrap().spellings();
        assert_eq!(spellings("a.example/x:v1"), ["a.example/x:v1"]);
        assert_eq!(
            spellings("a.example/x"),
            ["a.example/x:latest", "a.example/x"]
        );
        let nginx = spellings("nginx");
        for text in [
            "nginx",
            "nginx:latest",
            "library/nginx",
            "docker.io/nginx",
            "index.docker.io/library/nginx:latest",
        ] {
            assert!(nginx.iter().any(|one| one == text), "{text}: {nginx:?}");
        }
        for one in &nginx {
            let name: ImageName = one.parse().unwrap();
            assert_eq!(name.as_str(), nginx[0], "{one}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in [
            "",
            ":",
            ":tag",
            "a:",
            "A:b",
            "a b",
            "a//b",
            "../x",
            "a:b:c",
            "/a",
            "a/",
            "app@sha256:00",
            "http://x/y",
            "a:ü",
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bare_word_in_an_archive_is_a_tag() {
        assert_eq!(ImageName::in_archive("latest"), None);
        assert_eq!(ImageName::in_archive("Not A Name:x"), None);
        assert_eq!(
            ImageName::in_archive("app:v1").unwrap().as_str(),
            "docker.io/library/app:v1"
        );
    }
}
