//! What is asked of a mirror, and of whom it may be asked; pure.
//!
//! containerd sends a mirror what it would send the registry, and adds the registry's name:
//! `/v2/library/nginx/manifests/1.29?ns=docker.io` (OCI distribution specification 1.1, "Pull"; containerd,
//! `docs/hosts.md`).

use vial_image::Digest;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) repository: Repository,
    pub(super) object: Object,
}

/// What of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    Tag(String),
    Manifest(Digest),
    Blob(Digest),
}

/// Images of one name in one public registry. Its parts are safe as parts of a path and of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Repository {
    registry: String,
    name: String,
}

impl Wanted {
    /// `path` without the query, `registry` as in `ns`; `None` for what no mirror has.
    pub(super) fn parse(path: &str, registry: &str) -> Option<Self> {
        let mut parts = path.strip_prefix("/v2/")?.rsplitn(3, '/');
        let (reference, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
        let object = match kind {
            "blobs" => Object::Blob(reference.parse().ok()?),
            "manifests" if is_tag(reference) => Object::Tag(reference.into()),
            "manifests" => Object::Manifest(reference.parse().ok()?),
            _ => return None,
        };
        let repository = Repository::new(registry, name)?;
        Some(Self { repository, object })
    }
}

impl Repository {
    fn new(registry: &str, name: &str) -> Option<Self> {
        let registry = registry.to_ascii_lowercase();
        let valid = is_public(&registry) && name.len() <= 255 && name.split('/').all(is_component);
        valid.then(|| Self {
            registry,
            name: name.into(),
        })
    }

    /// `docker.io`
    pub(super) fn registry(&self) -> &str {
        &self.registry
    }

    /// `library/nginx`
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the registry is asked. Docker Hub is the one that is not found under its name.
    pub(super) fn url(&self, kind: &str, reference: &str) -> String {
        let host = match self.registry.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        };
        format!("https://{host}/v2/{}/{kind}/{reference}", self.name)
    }
}

/// The name of a registry that others have, too: a domain, no address, nothing of this machine or cluster. Where the
/// name leads is looked at when it is looked up.
fn is_public(registry: &str) -> bool {
    let (host, port) = registry.split_once(':').unwrap_or((registry, "443"));
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(inner)
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    host.contains('.')
        && host.len() <= 253
        && host.split('.').all(label)
        // RFC 3696, 2: the last part of a name begins with a letter; otherwise some take it for an address (0x7f.1).
        && last.starts_with(|c: char| c.is_ascii_alphabetic())
        && !["localhost", "local", "internal", "vial"].contains(&last)
        && port.parse::<u16>().is_ok_and(|port| port != 0)
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Of a name (OCI distribution specification: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, taken a little wider).
fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    let (first, last) = (text.bytes().next(), text.bytes().last());
    text.bytes().all(inner) && first.is_some_and(plain) && last.is_some_and(plain)
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
fn is_tag(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = |byte: u8| plain(byte) || matches!(byte, b'.' | b'-');
    text.len() <= 128 && text.bytes().all(inner) && text.bytes().next().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn pulls_are_understood() {
        let wanted = Wanted::parse("/v2/library/nginx/manifests/1.29", "docker.io").unwrap();
        assert_eq!(wanted.object, Object::Tag("1.29".into()));
        assert_eq!(
            wanted.repository.url("manifests", "1.29"),
            "https://registry-1.docker.io/v2/library/nginx/manifests/1.29"
        );
        // Names may hold what looks like the rest of a path.
        let path = format!("/v2/manifests/blobs/x/blobs/{DIGEST}");
        let wanted = Wanted::parse(&path, "Example.org:5443").unwrap();
        assert_eq!(wanted.repository.registry(), "example.org:5443");
        assert_eq!(wanted.repository.name(), "manifests/blobs/x");
        assert_eq!(wanted.object, Object::Blob(DIGEST.parse().unwrap()));
        let by_digest = Wanted::parse(&format!("/v2/a/manifests/{DIGEST}"), "ghcr.io").unwrap();
        assert_eq!(by_digest.object, Object::Manifest(DIGEST.parse().unwrap()));
    }

    #[test]
    fn what_is_no_pull_is_refused() {
        for path in [
            "/",
            "/v2/",
            "/v2/_catalog",
            "/v2/a/tags/list",
            "/v2/a/blobs/latest",
            "/v2/a/blobs/uploads/x",
            "/v2/../manifests/latest",
            "/v2/a/../b/manifests/latest",
            "/v2//manifests/latest",
            "/v2/A/manifests/latest",
            "/v2/a%2fb/manifests/latest",
            "/v2/a/manifests/..",
            "/v2/a/manifests/sha256:00",
            "/v3/a/manifests/latest",
            "/v2/a@b/manifests/latest",
        ] {
            assert_eq!(Wanted::parse(path, "docker.io"), None, "{path}");
        }
    }

    #[test]
    fn only_public_names_are_asked() {
        for registry in [
            "",
            "localhost",
            "localhost:5000",
            "a.localhost",
            "localhost.",
            "127.0.0.1",
            "127.1",
            "127.0.0.1:5000",
            "2130706433",
            "0x7f.1",
            "0x7f.0x1",
            "[::1]",
            "[::1]:5000",
            "::1",
            "169.254.169.254",
            "10.89.0.2:5000",
            "registry.vial:5000",
            "metadata.google.internal",
            "printer.local",
            "registry",
            "docker.io/..",
            "user@docker.io",
            "docker.io?x",
            "docker.io#",
            "docker.io:0",
            "docker.io:70000",
            "docker.io:+1",
            "docker..io",
        ] {
            let asked = Wanted::parse("/v2/a/manifests/latest", registry);
            assert_eq!(asked, None, "{registry}");
        }
        for registry in [
            "docker.io",
            "registry.k8s.io",
            "quay.io:443",
            "my-own.example",
        ] {
            assert!(Wanted::parse("/v2/a/manifests/latest", registry).is_some());
        }
    }
}
