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

/// One word of a POSIX shell.
#[must_use]
pub fn shell_word(text: &str) -> String {
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// One word of a POSIX shell within ssh's configuration (ProxyCommand), where `%` has a meaning.
#[must_use]
pub fn proxy_word(text: &str) -> String {
    shell_word(text).replace('%', "%%")
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
        assert_eq!(
            (shell_word("5%"), proxy_word("5%")),
            ("5%".into(), "5%%".into())
        );
    }
}
