//! Paths as words of ssh's configuration and of a POSIX shell within it.

use std::path::Path;

/// One argument of ssh's configuration: in quotes where that is needed, with `%` for itself (ssh_config(5), TOKENS).
#[must_use]
pub fn word(path: &Path) -> String {
    let text = path.to_string_lossy().replace('%', "%%");
    if text.chars().all(|letter| is_plain(letter) || letter == '*') {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// One word of a POSIX shell within ssh's configuration, where `%` has a meaning.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let text = text.replace('%', "%%");
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Means itself, to ssh and to a shell.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "/._-+%:@".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_mean_themselves() {
        assert_eq!(word(Path::new("/a/*/pods")), "/a/*/pods");
        assert_eq!(word(Path::new("/100% \"a\"")), r#""/100%% \"a\"""#);
        assert_eq!(shell_word("a b's"), r"'a b'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
