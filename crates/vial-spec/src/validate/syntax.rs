//! The small grammars of Kubernetes and Linux: labels, taints, environment variables, paths, modes.

use super::{FieldPath, Problems};
use crate::Taint;
use crate::file::{FullTaint, TaintEntry};
use crate::names;

/// What happens to pods that do not tolerate a taint.
pub(super) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// The name part of a qualified name, and a label's value that is not empty (apimachinery's validation package):
/// at most 63 letters, digits, `-`, `_` and `.`, the first and last a letter or a digit.
fn word(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

/// A qualified name, `example.com/gpu` or `gpu`: the key of a label or a taint.
pub(super) fn qualified_name(path: &FieldPath, key: &str, problems: &mut Problems) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if !word(name) {
        problems.add(
            path,
            format!(
                "{key:?} is not a key: its name must have 1 to 63 letters, digits, \"-\", \"_\" and \".\", \
                 the first and last a letter or a digit"
            ),
        );
    }
    let subdomain = |prefix: &str| {
        prefix.len() <= 253
            && prefix
                .split('.')
                .all(|label| names::check_label(label, 253).is_ok())
    };
    if prefix.is_some_and(|prefix| !subdomain(prefix)) {
        problems.add(
            path,
            format!(
                "{key:?} is not a key: what is before the \"/\" must be a DNS name in lower case"
            ),
        );
    }
}

/// The value of a label or a taint; may be empty.
pub(super) fn label_value(path: &FieldPath, value: &str, problems: &mut Problems) {
    if !value.is_empty() && !word(value) {
        problems.add(
            path,
            format!(
                "{value:?} is not a value: it must have at most 63 letters, digits, \"-\", \"_\" and \".\", \
                 the first and last a letter or a digit"
            ),
        );
    }
}

/// A taint in either form.
pub(super) fn taint(path: &FieldPath, entry: &TaintEntry, problems: &mut Problems) -> Taint {
    let (taint, below) = match entry {
        TaintEntry::Full(FullTaint { key, value, effect }) => {
            let value = value
                .as_ref()
                .map(|value| value.0.clone())
                .unwrap_or_default();
            (
                Taint {
                    key: key.clone(),
                    value,
                    effect: effect.clone(),
                },
                true,
            )
        }
        TaintEntry::Text(text) => {
            let Some((left, effect)) = text.rsplit_once(':') else {
                problems.add(
                    path,
                    format!("{text:?} is not a taint, as key=value:NoSchedule is"),
                );
                return Taint {
                    key: text.clone(),
                    value: String::new(),
                    effect: String::new(),
                };
            };
            let (key, value) = left.split_once('=').unwrap_or((left, ""));
            (
                Taint {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    effect: effect.to_owned(),
                },
                false,
            )
        }
    };
    let at = |field: &str| if below { path.key(field) } else { path.clone() };
    qualified_name(&at("key"), &taint.key, problems);
    label_value(&at("value"), &taint.value, problems);
    if !EFFECTS.contains(&taint.effect.as_str()) {
        let hint = names::did_you_mean(&taint.effect, &EFFECTS)
            .unwrap_or_else(|| format!("possible are {}", EFFECTS.join(", ")));
        problems.add_hint(
            &at("effect"),
            format!("{:?} is not the effect of a taint", taint.effect),
            Some(hint),
        );
    }
    taint
}

/// The name of a feature gate: `InPlacePodVerticalScaling`.
pub(super) fn feature_gate(path: &FieldPath, name: &str, problems: &mut Problems) {
    if !name.starts_with(|c: char| c.is_ascii_uppercase())
        || !name.chars().all(|c| c.is_ascii_alphanumeric())
    {
        problems.add(
            path,
            format!("{name:?} is not the name of a feature gate, as AllAlpha is"),
        );
    }
}

/// The name of an environment variable (POSIX, "Environment Variable Definition").
pub(super) fn env_name(path: &FieldPath, name: &str, problems: &mut Problems) {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        problems.add(
            path,
            format!("{name:?} is not the name of an environment variable, as GODEBUG is"),
        );
    }
}

/// A text that ends up in the arguments or the environment of a program.
pub(super) fn no_nul(path: &FieldPath, text: &str, problems: &mut Problems) {
    if text.contains('\0') {
        problems.add(
            path,
            "it has a NUL character, which no program can be given",
        );
    }
}

/// A flag without its dashes.
pub(super) fn flag(path: &FieldPath, name: &str, problems: &mut Problems) {
    if let Some(bare) = name.strip_prefix('-') {
        let bare = bare.trim_start_matches('-');
        let hint = format!("write it without the leading dashes: {bare}");
        problems.add_hint(
            path,
            format!("{name:?} is not the name of a flag"),
            Some(hint),
        );
        return;
    }
    if let Some((bare, value)) = name.split_once('=') {
        let hint = format!("write {bare}: {value:?}");
        problems.add_hint(
            path,
            format!("{name:?} is a flag and its value"),
            Some(hint),
        );
        return;
    }
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        problems.add(path, format!("{name:?} is not the name of a flag"));
    }
}

/// An absolute path without `.` and `..`, and not the root.
pub(super) fn absolute(path: &FieldPath, text: &str, what: &str, problems: &mut Problems) {
    if !text.starts_with('/') {
        let message = format!("{text:?} is not an absolute path {what}");
        problems.add_hint(path, message, Some("begin it with \"/\"".to_owned()));
    } else if text.contains('\0') {
        problems.add(
            path,
            format!("{text:?} is not a path, it has a NUL character"),
        );
    } else if text.split('/').any(|part| part == "." || part == "..") {
        problems.add(
            path,
            format!("{text:?} has a \".\" or \"..\", write the path itself"),
        );
    }
}

/// A place in a node where something may be put: not the root, and not in what the kernel shows there.
pub(super) fn node_path(path: &FieldPath, text: &str, problems: &mut Problems) {
    absolute(path, text, "in the node", problems);
    let trimmed = text.trim_end_matches('/');
    let within = |top: &str| {
        trimmed == top
            || trimmed
                .strip_prefix(top)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    if text.starts_with('/')
        && (trimmed.is_empty() || trimmed == "/dev" || within("/proc") || within("/sys"))
    {
        problems.add(
            path,
            format!("nothing can be put at {text:?} of a node, that is the node's own"),
        );
    }
}

/// Permission bits, octal as chmod(1) has them.
pub(super) fn mode(path: &FieldPath, text: &str, problems: &mut Problems) -> u32 {
    let digits = matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if digits => mode,
        _ => {
            problems.add(
                path,
                format!("{text:?} is not a mode, three or four octal digits are: \"0644\""),
            );
            0
        }
    }
}
