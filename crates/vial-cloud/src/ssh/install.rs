//! The one line that vial puts into a person's `~/.ssh/config`; pure.
//!
//! It stands before everything else: of two values of an option ssh takes the first, and what stands after a `Host` is only
//! for that host.

/// The text with the line, `None` when it is there already.
#[must_use]
pub fn with(text: &[u8], line: &str) -> Option<Vec<u8>> {
    if counts(text, line) {
        return None;
    }
    let mut new = format!("{line}\n").into_bytes();
    new.extend(without(text, line).unwrap_or_else(|| text.to_vec()));
    Some(new)
}

/// The text without the line, `None` when it is not there.
#[must_use]
pub fn without(text: &[u8], line: &str) -> Option<Vec<u8>> {
    let kept: Vec<u8> = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|present| present.trim_ascii() != line.as_bytes())
        .flatten()
        .copied()
        .collect();
    (kept.len() != text.len()).then_some(kept)
}

/// Does the line stand where it is for all hosts?
#[must_use]
pub fn counts(text: &[u8], line: &str) -> bool {
    text.split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .take_while(|present| !begins_section(present))
        .any(|present| present == line.as_bytes())
}

fn begins_section(line: &[u8]) -> bool {
    let end = line
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || *byte == b'=');
    let word = &line[..end.unwrap_or(line.len())];
    word.eq_ignore_ascii_case(b"host") || word.eq_ignore_ascii_case(b"match")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "Include ~/.ssh/vial/config";

    #[test]
    fn it_comes_first_once_and_goes_again() {
        for text in [
            &b""[..],
            b"Host a\n  User b\n",
            b"no end of line",
            b"\r\n# \xff\r\n",
        ] {
            let with = with(text, LINE).unwrap();
            assert!(with.starts_with(b"Include ~/.ssh/vial/config\n"));
            assert!(with.ends_with(text));
            assert_eq!(super::with(&with, LINE), None);
            assert_eq!(without(&with, LINE).unwrap(), text);
        }
        assert_eq!(without(b"Host a\n", LINE), None);
    }

    #[test]
    fn a_line_that_counts_for_one_host_only_is_moved() {
        let text = b"host=a\n Include ~/.ssh/vial/config\nUser b\n";
        let with = with(text, LINE).unwrap();
        assert_eq!(with, b"Include ~/.ssh/vial/config\nhost=a\nUser b\n");
        let own = b"# mine\nInclude other\n  Include ~/.ssh/vial/config\nHost *\n";
        assert_eq!(
            super::with(own, LINE),
            None,
            "where a person moved it it stays"
        );
    }
}
