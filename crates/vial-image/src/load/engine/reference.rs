//! How people name an image of an engine.

use std::fmt;

use super::Engine;
use crate::digest::Digest;
use crate::load::ImageName;

/// What is put before an image's name to say which engine has it: `docker://nginx:1.29`.
pub(super) const SCHEME: &str = "://";

/// An image that an engine of this machine may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineImage {
    /// The only one to be asked; `None`: all, until one has it.
    pub(super) engine: Option<Engine>,
    /// As typed, with its tag.
    pub(super) reference: String,
}

impl EngineImage {
    /// `nginx:1.29`, `docker://nginx:1.29`, `nginx@sha256:…` or the id of an image. `None` for what cannot be one.
    pub fn parse(text: &str, engine: Option<Engine>) -> Option<Self> {
        let named = Engine::ALL
            .into_iter()
            .find_map(|one| Some((one, text.strip_prefix(one.as_str())?.strip_prefix(SCHEME)?)));
        let (engine, text) = match named {
            Some((named, _)) if engine.is_some_and(|engine| engine != named) => return None,
            Some((named, rest)) => (Some(named), rest),
            None => (engine, text),
        };
        let reference = if is_id(text) {
            text.to_owned()
        } else if let Some((name, digest)) = text.split_once('@') {
            name.parse::<ImageName>().ok()?;
            digest.parse::<Digest>().ok()?;
            text.to_owned()
        } else {
            text.parse::<ImageName>().ok()?;
            let last = text.rsplit('/').next().unwrap_or(text);
            // `docker save nginx` would give all tags.
            if last.contains(':') {
                text.to_owned()
            } else {
                format!("{text}:latest")
            }
        };
        Some(Self { engine, reference })
    }

    /// What pods will call it: what was asked for, when that is a name and not a digest.
    pub(in crate::load) fn name(&self) -> Option<ImageName> {
        if is_id(&self.reference) {
            return None;
        }
        self.reference.parse().ok()
    }
}

impl fmt::Display for EngineImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(engine) = self.engine {
            write!(f, "{engine}{SCHEME}")?;
        }
        f.write_str(&self.reference)
    }
}

/// `sha256:HEX`, or enough of its digits.
fn is_id(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    (12..=64).contains(&hex.len())
        && hex
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_gets_the_tag_that_is_meant_and_keeps_the_engine() {
        for (text, shown) in [
            ("nginx", "nginx:latest"),
            ("nginx:1.29", "nginx:1.29"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("docker://nginx:1.29", "docker://nginx:1.29"),
            (
                "containerd://registry.k8s.io/pause:3.10",
                "containerd://registry.k8s.io/pause:3.10",
            ),
            ("4f5e6d7c8b9a", "4f5e6d7c8b9a"),
        ] {
            let image = EngineImage::parse(text, None).unwrap();
            assert_eq!(image.to_string(), shown, "{text}");
        }
        for bad in [
            "./x",
            "-x",
            "App",
            "docker://",
            "docker://-v",
            "http://x/y",
            "a@b",
            "",
        ] {
            assert_eq!(EngineImage::parse(bad, None), None, "{bad}");
        }
        assert_eq!(
            EngineImage::parse("docker://a:1", Some(Engine::Podman)),
            None
        );
    }

    #[test]
    fn what_is_asked_for_by_its_name_is_called_so() {
        let name = |text| EngineImage::parse(text, None).unwrap().name();
        assert_eq!(
            name("podman://app:v1").unwrap().as_str(),
            "docker.io/library/app:v1"
        );
        let digest = format!("app@sha256:{}", "0".repeat(64));
        assert_eq!((name("4f5e6d7c8b9a"), name(&digest)), (None, None));
    }
}
