//! Takes secrets out of what goes into an archive; pure.
//!
//! Two nets, one behind the other:
//!
//! - [`Redactor::object`] knows what objects mean: values of environment variables, of Secrets, of files that a person laid
//!   over a node go, whatever they look like.
//! - [`Redactor::text`] knows how secrets look: keys in PEM, tokens, passwords beside their names or in URLs, also encoded
//!   in base64. And it knows some by heart ([`Redactor::knowing`]): the cluster's keys, what its Secrets hold. All text
//!   goes through it, logs and objects too.
//!
//! Rather too much goes than too little: what is left is for a bug report.

mod known;
mod object;
mod patterns;
mod text;

pub(crate) use known::Known;

use aho_corasick::AhoCorasick;

/// Stands where a secret was.
pub(crate) const MARK: &str = "[removed]";

/// Takes secrets out.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    /// Finds every secret that is known by heart.
    known: Option<AhoCorasick>,
}
