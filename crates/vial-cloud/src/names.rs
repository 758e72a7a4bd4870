//! Names of pods: what Kubernetes allows, and several at once in a word.
//!
//! `dp-test[01-10]` are ten, `a[1-3,7]` four, `{web,db}` two, for shells that do not expand braces or do not know ranges.

use crate::error::{Error, Kind, Result};

/// A name of a Service has no more letters (RFC 1035, label).
const LONGEST: usize = 63;
/// More pods at once are a slip of the keyboard.
const MOST: usize = 1000;

/// All names that `words` stand for, in their order; with `count` each one stands for so many.
///
/// # Errors
/// When a word is no name or range, or a name comes twice.
pub fn expand<S: AsRef<str>>(words: &[S], count: Option<usize>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for word in words {
        let word = word.as_ref();
        let mut expanded = vec![String::new()];
        for part in parts(word)? {
            expanded = expanded
                .iter()
                .flat_map(|head| part.iter().map(move |tail| format!("{head}{tail}")))
                .collect();
            if expanded.len() > MOST {
                return Err(bad(word, &format!("it stands for more than {MOST} pods")));
            }
        }
        match count {
            None => names.append(&mut expanded),
            Some(0) => return Err(bad(word, "a count of 0 makes nothing")),
            Some(count) if count > MOST => {
                return Err(bad(word, &format!("at most {MOST} pods at once")));
            }
            Some(count) => {
                names.extend(expanded.iter().flat_map(|name| counted(name, count)));
            }
        }
    }
    for name in &names {
        check(name)?;
    }
    let mut sorted = names.clone();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|two| two[0] == two[1]) {
        return Err(bad(&twice[0], "it is named twice"));
    }
    Ok(names)
}

/// Whether a pod can be called so: the name of a Service and of a host (RFC 1035).
///
/// # Errors
/// When not; says why.
pub fn check(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > LONGEST {
        "it has more than 63 letters"
    } else if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        "it must begin with a small letter"
    } else if !name
        .chars()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-')
    {
        "only small letters, digits and `-` are allowed"
    } else if name.ends_with('-') {
        "it must not end with `-`"
    } else {
        return Ok(());
    };
    Err(bad(name, why))
}

fn bad(name: &str, why: &str) -> Error {
    Error::new(
        Kind::BadInput,
        format!("`{name}` cannot be the name of a pod: {why}"),
    )
}

/// `dp01` three times is dp01, dp02, dp03; `web` is web-1, web-2, web-3.
fn counted(name: &str, count: usize) -> Vec<String> {
    let head = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let digits = &name[head.len()..];
    let (first, width, dash) = match digits.parse::<usize>() {
        Ok(first) => (first, digits.len(), ""),
        Err(_) => (1, 1, "-"),
    };
    (first..first.saturating_add(count))
        .map(|number| format!("{head}{dash}{number:0width$}"))
        .collect()
}

/// The pieces of a word, each with the texts it may be.
fn parts(word: &str) -> Result<Vec<Vec<String>>> {
    let mut parts = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find(['[', '{']) {
        parts.push(vec![rest[..at].to_owned()]);
        let (open, inner) = rest[at..].split_at(1);
        let close = if open == "[" { ']' } else { '}' };
        let Some((inner, after)) = inner.split_once(close) else {
            return Err(bad(word, &format!("`{open}` is not closed")));
        };
        let mut texts = Vec::new();
        for item in inner.split(',') {
            match item.split_once('-').filter(|_| open == "[") {
                Some((first, last)) => texts.extend(range(word, first, last)?),
                None => texts.push(item.to_owned()),
            }
        }
        parts.push(texts);
        rest = after;
    }
    parts.push(vec![rest.to_owned()]);
    Ok(parts)
}

/// `01-10`, as wide as the first number is written.
fn range(word: &str, first: &str, last: &str) -> Result<Vec<String>> {
    let why = format!("`{first}-{last}` is not a range of numbers");
    let number = |text: &str| text.parse::<usize>().map_err(|_| bad(word, &why));
    let (from, to) = (number(first)?, number(last)?);
    if from > to || to - from >= MOST {
        return Err(bad(word, &why));
    }
    let width = first.len();
    Ok((from..=to)
        .map(|number| format!("{number:0width$}"))
        .collect())
}

/// Whether a name fits a glob: `*` any letters, `?` one.
#[must_use]
pub fn matches(glob: &str, name: &str) -> bool {
    fn rest(glob: &[u8], name: &[u8]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', more)), _) => {
                rest(more, name) || name.split_first().is_some_and(|(_, tail)| rest(glob, tail))
            }
            (Some((b'?', more)), Some((_, tail))) => rest(more, tail),
            (Some((letter, more)), Some((own, tail))) => letter == own && rest(more, tail),
            _ => false,
        }
    }
    rest(glob.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_may_stand_for_many() {
        let names = |word: &str, count| expand(&[word], count).unwrap().join(" ");
        assert_eq!(
            names("dp-test[08-10]", None),
            "dp-test08 dp-test09 dp-test10"
        );
        assert_eq!(names("a[1-2,7]", None), "a1 a2 a7");
        assert_eq!(names("{web,db}-[1-2]", None), "web-1 web-2 db-1 db-2");
        assert_eq!(names("dp01", Some(3)), "dp01 dp02 dp03");
        assert_eq!(names("web", Some(2)), "web-1 web-2");
    }

    #[test]
    fn what_kubernetes_forbids_is_refused() {
        let long = "a".repeat(64);
        for word in [
            "",
            "Web",
            "1a",
            "a_b",
            "a-",
            "-a",
            "a.b",
            "a[1-",
            "a[3-1]",
            "a[x-y]",
            "a[0-99999]",
            "a{b",
            "ä",
            &long,
        ] {
            let error = expand(&[word], None).unwrap_err();
            assert_eq!(error.kind(), Kind::BadInput, "{word}");
        }
        assert!(expand(&["a", "a"], None).is_err());
        assert!(expand(&["a"], Some(0)).is_err());
    }

    #[test]
    fn globs_are_those_of_a_shell() {
        for (glob, name, fits) in [
            ("dp-*", "dp-1", true),
            ("dp-*", "d-1", false),
            ("*1", "dp-1", true),
            ("dp-?", "dp-10", false),
            ("*", "x", true),
            ("a", "a", true),
        ] {
            assert_eq!(matches(glob, name), fits, "{glob} {name}");
        }
    }
}
