//! Secrets that are known by heart, so that they are found wherever they turn up.

use std::borrow::Cow;
use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{MARK, Redactor};

/// What is shorter is too likely to be a word of something else.
const SHORTEST: usize = 6;
/// Lines of a longer secret count by themselves when they are that long.
const LINE: usize = 16;
/// A longer one is looked for in parts of this length.
const PART: usize = 128;
/// So many at most.
const MOST: usize = 20_000;
/// Whoever takes such a word for a secret cannot be helped: everybody says it.
const COMMON: &[&str] = &[
    "admin",
    "cluster.local",
    "containerd",
    "control-plane",
    "default",
    "disabled",
    "enabled",
    "kube-proxy",
    "kube-public",
    "kube-system",
    "kubelet",
    "kubernetes",
    "localhost",
    "password",
    "registry",
    "secret",
    "system",
    "worker",
];

/// Secrets, collected.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeSet<String>);

impl Known {
    /// Adds a secret: itself, its longer lines, and it in base64. One that is too short cannot be looked for.
    pub(crate) fn add(&mut self, secret: &str) {
        let whole = secret.trim();
        if whole.len() < SHORTEST || COMMON.contains(&whole) {
            return;
        }
        let lines = whole.lines().map(str::trim);
        // Headings of PEM say nothing.
        let lines = lines.filter(|line| line.len() >= LINE && !line.starts_with("-----"));
        lines.for_each(|line| self.word(line));
        if !whole.contains('\n') {
            self.word(whole);
        }
        for secret in [whole, secret] {
            self.word(&STANDARD.encode(secret));
            self.word(&STANDARD_NO_PAD.encode(secret));
        }
    }

    /// Adds a word, in parts when it is long.
    fn word(&mut self, word: &str) {
        if self.0.len() >= MOST {
            return;
        }
        if word.len() <= 2 * PART {
            self.0.insert(word.to_owned());
            return;
        }
        let letters: Vec<char> = word.chars().collect();
        let parts = letters
            .chunks(PART)
            .map(|part| part.iter().collect::<String>());
        // A short rest could be anything.
        self.0.extend(parts.filter(|part| part.len() >= LINE));
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
        let found = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&known.0);
        Self {
            known: found.ok().filter(|_| !known.0.is_empty()),
        }
    }

    /// The text without what is known.
    pub(super) fn without_known<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(known) = self.known.as_ref().filter(|known| known.is_match(text)) else {
            return text.into();
        };
        let mut left = String::with_capacity(text.len());
        known.replace_all_with(text, &mut left, |_, _, left| {
            left.push_str(MARK);
            true
        });
        left.into()
    }
}
