//! The Release file of a suite: when it holds, and which bytes its indices must have.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::control::stanzas;
use super::error::DebianError;

/// How far a Release may be dated ahead of this machine's clock: clocks differ a little.
const CLOCK_SKEW_SECONDS: i64 = 24 * 60 * 60;

/// One file a Release vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Bytes.
    pub(crate) size: u64,
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
}

/// A Release whose signature was checked.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    /// `Date`.
    pub(crate) date: Timestamp,
    /// `Valid-Until`; stable releases have none.
    pub(crate) valid_until: Option<Timestamp>,
    /// `Acquire-By-Hash: yes`: files are also found by their hash, so a running mirror update does no harm.
    pub(crate) by_hash: bool,
    /// `Suite` and `Codename`.
    pub(crate) names: Vec<String>,
    files: BTreeMap<String, Listed>,
}

impl Release {
    /// Reads the signed text; `file` names it in errors.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, DebianError> {
        let bad = |reason: String| DebianError::malformed(file, reason);
        let stanza = stanzas(text)
            .next()
            .ok_or_else(|| bad("it is empty".to_owned()))?
            .map_err(bad)?;
        let date = |field: &str| {
            stanza
                .get(field)
                .map(|text| parse_date(text).map_err(|error| bad(format!("{field}: {error}"))))
                .transpose()
        };
        let mut files = BTreeMap::new();
        for line in stanza
            .get("SHA256")
            .ok_or_else(|| bad("it has no SHA256 field".to_owned()))?
            .lines()
        {
            let mut words = line.split_whitespace();
            let (Some(sha256), Some(size), Some(name)) = (words.next(), words.next(), words.next())
            else {
                return Err(bad(format!(
                    "SHA256: \"{line}\" is not a hash, a size and a name"
                )));
            };
            let size = size
                .parse()
                .map_err(|_| bad(format!("SHA256: the size of {name} is no number")))?;
            files.insert(
                name.to_owned(),
                Listed {
                    size,
                    sha256: sha256.to_ascii_lowercase(),
                },
            );
        }
        Ok(Self {
            date: date("Date")?.ok_or_else(|| bad("it has no Date".to_owned()))?,
            valid_until: date("Valid-Until")?,
            by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
            names: ["Suite", "Codename"]
                .iter()
                .filter_map(|field| stanza.get(field))
                .map(str::to_owned)
                .collect(),
            files,
        })
    }

    /// What the Release says of a file, by its path below the suite: `main/binary-amd64/Packages.xz`.
    pub(crate) fn file(&self, path: &str) -> Option<&Listed> {
        self.files.get(path)
    }

    /// Whether it may be used for this suite now.
    pub(crate) fn check(
        &self,
        suite: &str,
        file: &str,
        now: Timestamp,
        allow_expired: bool,
    ) -> Result<(), DebianError> {
        // Otherwise a mirror could hand out another suite, validly signed by the same key.
        if !self.names.iter().any(|name| name == suite) {
            return Err(DebianError::malformed(
                file,
                format!(
                    "it is the release of {}, not of {suite}",
                    self.names.join(" or ")
                ),
            ));
        }
        if self.date.as_second() > now.as_second() + CLOCK_SKEW_SECONDS {
            return Err(DebianError::Future {
                suite: suite.to_owned(),
                date: self.date.to_string(),
            });
        }
        match self.valid_until {
            Some(until) if until < now && !allow_expired => Err(DebianError::Expired {
                suite: suite.to_owned(),
                until: until.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// `Sat, 12 Sep 2026 07:55:41 UTC`: RFC 2822, but for the zone's name.
fn parse_date(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let text = text
        .strip_suffix("UTC")
        .map_or_else(|| text.to_owned(), |date| format!("{date}+0000"));
    rfc2822::parse(&text)
        .map(|date| date.timestamp())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Suite: unstable\nCodename: sid\nDate: Fri, 30 Oct 2026 08:08:01 UTC\nValid-Until: Fri, 06 Nov 2026 08:08:01 UTC\n\
        Acquire-By-Hash: yes\nSHA256:\n AB12 34 main/binary-amd64/Packages.xz\n";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn reads_dates_and_files() {
        let release = Release::parse("InRelease", TEXT).unwrap();
        assert_eq!(release.date, at("2026-10-30T08:08:01Z"));
        assert_eq!(
            release.file("main/binary-amd64/Packages.xz"),
            Some(&Listed {
                size: 34,
                sha256: "ab12".to_owned()
            })
        );
        assert!(release.by_hash && release.file("other").is_none());
    }

    #[test]
    fn expires() {
        let release = Release::parse("InRelease", TEXT).unwrap();
        release
            .check("sid", "f", at("2026-11-01T00:00:00Z"), false)
            .unwrap();
        release
            .check("unstable", "f", at("2026-11-06T08:08:01Z"), false)
            .unwrap();
        let error = release
            .check("sid", "f", at("2026-11-06T08:08:02Z"), false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("suite sid expired on 2026-11-06T08:08:01Z"),
            "{error}"
        );
        release
            .check("sid", "f", at("2026-11-06T08:08:02Z"), true)
            .unwrap();
    }

    #[test]
    fn refuses_another_suite_and_the_future() {
        let release = Release::parse("InRelease", TEXT).unwrap();
        let error = release
            .check("trixie", "InRelease", at("2026-11-01T00:00:00Z"), true)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "InRelease: it is the release of unstable or sid, not of trixie"
        );
        assert!(matches!(
            release.check("sid", "f", at("2026-10-01T00:00:00Z"), true),
            Err(DebianError::Future { .. })
        ));
    }
}
