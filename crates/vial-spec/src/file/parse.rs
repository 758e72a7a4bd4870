//! From text to the form, and what to say when it is none.

use std::fmt;

use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

use super::File;
use super::locate::Places;
use crate::{cidr, names};

/// The text is not YAML, or not of the form of a `vial.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What was read: `vial.yaml`.
    pub origin: String,
    /// From 1; 0 when nothing is known of the position.
    pub line: u64,
    /// From 1, in characters; 0 when nothing is known of the position.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What was probably meant, or what is possible.
    pub hint: Option<String>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseError {
            origin,
            line,
            column,
            message,
            hint,
        } = self;
        match line {
            0 => write!(f, "{origin}: {message}")?,
            _ => write!(f, "{origin}:{line}:{column}: {message}")?,
        }
        match hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// The text a file was parsed from: where things stand in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// What was read: `vial.yaml`. Empty: there was no file.
    pub(crate) origin: String,
    text: String,
}

/// Where a file came from is no part of what it says.
impl PartialEq for Source {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Source {
    /// Where the fields stand in the text.
    pub(crate) fn places(&self) -> Places {
        Places::of(&self.text)
    }
}

impl File {
    /// Reads the text of a file; `origin` is its name in messages.
    ///
    /// # Errors
    /// The first thing that is wrong with the form, with line and column.
    pub fn parse(text: &str, origin: &str) -> Result<File, ParseError> {
        // No snippets: whoever shows the error has the text and the position.
        let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
        match serde_saphyr::from_str_with_options::<File>(text, options) {
            Ok(file) => {
                let source = Source {
                    origin: origin.to_owned(),
                    text: text.to_owned(),
                };
                Ok(File { source, ..file })
            }
            Err(_) if empty(text) => Err(ParseError {
                origin: origin.to_owned(),
                line: 0,
                column: 0,
                message: "it is empty".to_owned(),
                hint: Some(
                    "write apiVersion: vial/v1, kind: Cluster and what you want to change"
                        .to_owned(),
                ),
            }),
            Err(error) => {
                let position = error
                    .location()
                    .map_or((0, 0), |at| (at.line(), at.column()));
                let (message, hint) = explain(error.without_snippet());
                Err(ParseError {
                    origin: origin.to_owned(),
                    line: position.0,
                    column: position.1,
                    message,
                    hint,
                })
            }
        }
    }
}

/// What is wrong, and what was meant.
fn explain(error: &Error) -> (String, Option<String>) {
    let choice = |word: &str, expected: &[&'static str]| {
        let allowed = match expected {
            [only] => format!("the only possible one is {only}"),
            _ => format!("possible are {}", expected.join(", ")),
        };
        Some(match names::did_you_mean(word, expected) {
            Some(meant) => format!("{meant} ({allowed})"),
            None => allowed,
        })
    };
    match error {
        Error::SerdeUnknownField { field, .. } if cidr::parse(field).is_ok() => {
            // `{podCIDR: 10.244.0.0/16,fd00:10:244::/56}`: the comma ends the value.
            let hint = "within braces, put CIDRs with commas between them in quotes";
            (format!("{field:?} is no field"), Some(hint.to_owned()))
        }
        Error::SerdeUnknownField {
            field, expected, ..
        } => (format!("unknown field {field:?}"), choice(field, expected)),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => (
            format!("unknown value {variant:?}"),
            choice(variant, expected),
        ),
        Error::SerdeMissingField { field, .. } => {
            let hint = match *field {
                "apiVersion" => Some("write apiVersion: vial/v1".to_owned()),
                "kind" => Some("write kind: Cluster".to_owned()),
                _ => None,
            };
            (format!("the field {field:?} is missing"), hint)
        }
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => (
            format!("found {}, expected {expected}", plain(unexpected)),
            None,
        ),
        Error::Unexpected {
            expected: "mapping start",
            ..
        } => (
            "expected a mapping, as in \"field: value\"".to_owned(),
            None,
        ),
        Error::Unexpected {
            expected: "sequence start",
            ..
        } => ("expected a list, as in \"- element\"".to_owned(), None),
        Error::Unexpected {
            expected: "string scalar",
            ..
        }
        | Error::NullIntoString { .. } => ("expected a text".to_owned(), None),
        Error::InvalidScalar {
            ty: "boolean" | "bool",
            ..
        }
        | Error::InvalidBooleanStrict { .. } => ("expected true or false".to_owned(), None),
        Error::InvalidScalar { ty, .. } if ty.starts_with(['u', 'i']) => (
            "expected a whole number that is not negative".to_owned(),
            None,
        ),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            (format!("the field {key:?} is there twice"), None)
        }
        Error::MultipleDocuments { .. } => (
            "there is more than one document, one file describes one cluster".to_owned(),
            None,
        ),
        Error::AliasError { error, .. } => explain(error),
        other => (
            UserMessageFormatter.format_message(other).into_owned(),
            None,
        ),
    }
}

/// Nothing but comments.
fn empty(text: &str) -> bool {
    text.lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// serde's words for what was found, in the words of a person who writes YAML.
fn plain(unexpected: &str) -> String {
    for (serde, yaml) in [
        ("sequence", "a list"),
        ("map", "a mapping"),
        ("unit value", "nothing"),
        ("string", "the text"),
        ("integer", "the number"),
        ("floating point", "the number"),
        ("boolean", "the value"),
    ] {
        if let Some(rest) = unexpected.strip_prefix(serde) {
            return format!("{yaml}{}", rest.replace('`', ""));
        }
    }
    unexpected.to_owned()
}
