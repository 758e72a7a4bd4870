//! Secrets that are known by heart, so that they are found wherever they turn up.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use regex::Regex;

use super::Redactor;

/// What is shorter is too likely to be a word of something else.
const SHORTEST: usize = 6;
/// Lines of a longer secret count by themselves when they are that long.
const LINE: usize = 16;
/// So many at most.
const MOST: usize = 10_000;

/// Secrets, collected.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeSet<String>);

impl Known {
    /// Adds a secret: itself, its longer lines, and it in base64. One that is too short cannot be looked for.
    pub(crate) fn add(&mut self, secret: &str) {
        let whole = secret.trim();
        if whole.len() < SHORTEST || self.0.len() >= MOST {
            return;
        }
        let lines = whole.lines().map(str::trim);
        // Headings of PEM say nothing.
        let lines = lines.filter(|line| line.len() >= LINE && !line.starts_with("-----"));
        self.0.extend(lines.map(ToOwned::to_owned));
        if !whole.contains('\n') {
            self.0.insert(whole.to_owned());
        }
        for secret in [whole, secret] {
            self.0.insert(STANDARD.encode(secret));
            self.0.insert(STANDARD_NO_PAD.encode(secret));
        }
    }

    /// Adds what a Secret holds. Names, and certificates, which everybody may see, are none.
    pub(crate) fn add_secret(&mut self, data: &serde_json::Map<String, serde_json::Value>) {
        let harmless = [
            "namespace",
            "username",
            "user",
            "type",
            "host",
            "port",
            "ca.crt",
            "tls.crt",
        ];
        for (key, value) in data {
            if harmless.contains(&key.as_str()) {
                continue;
            }
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                self.add(&text);
            }
        }
    }
}

impl Redactor {
    /// One that knows these secrets besides how secrets look.
    pub(crate) fn knowing(known: &Known) -> Self {
        // The longest first: one may be the beginning of another.
        let mut all: Vec<&String> = known.0.iter().collect();
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let escaped: Vec<String> = all.iter().map(|secret| regex::escape(secret)).collect();
        let regex = regex::RegexBuilder::new(&escaped.join("|"))
            .size_limit(256 * 1024 * 1024)
            .build();
        Self {
            known: regex.ok().filter(|_: &Regex| !escaped.is_empty()),
        }
    }
}
