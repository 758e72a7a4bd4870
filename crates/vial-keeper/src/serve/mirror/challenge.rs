//! Where a registry says that tokens are to be had: `WWW-Authenticate: Bearer realm="…",service="…"` (RFC 6750, 3;
//! Distribution, "Token Authentication Specification"); pure.

/// What of it counts. The scope is not taken from it: it is known what is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// A URL.
    pub(super) realm: String,
    /// The registry, as it is known there.
    pub(super) service: Option<String>,
}

impl Challenge {
    /// `None` for any other kind of challenge.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, mut rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        while let Some((key, value)) = rest.split_once('=') {
            let (value, after) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => value
                    .find(',')
                    .map_or((value, ""), |end| value.split_at(end)),
            };
            match key.trim_matches([',', ' ']).to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value.to_owned()),
                "service" => service = Some(value.to_owned()),
                _ => {}
            }
            rest = after;
        }
        let realm = realm?;
        Some(Self { realm, service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_token_is_read() {
        let hub = Challenge::parse(
            "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:library/nginx:pull,push\"",
        );
        assert_eq!(
            hub,
            Some(Challenge {
                realm: "https://auth.docker.io/token".into(),
                service: Some("registry.docker.io".into()),
            })
        );
        let plain = Challenge::parse("bearer service=a, realm=https://a.example/t").unwrap();
        assert_eq!(plain.realm, "https://a.example/t");
        assert_eq!(plain.service.as_deref(), Some("a"));
        for other in [
            "Basic realm=\"a\"",
            "Bearer",
            "Bearer realm=\"a",
            "Bearer service=\"a\"",
        ] {
            assert_eq!(Challenge::parse(other), None, "{other}");
        }
    }
}
