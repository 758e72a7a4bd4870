//! How secrets look.

use std::sync::LazyLock;

use regex::Regex;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("tested below")
}

/// A private key in PEM (RFC 7468, and OpenSSH's and PGP's forms), to the end of the text when it is cut off.
pub(super) static KEY: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    )
});

/// The end of one whose beginning was cut off.
pub(super) static KEY_END: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?:[A-Za-z0-9+/=]{16,}(?:\s|\\[nr])+)*[A-Za-z0-9+/=]*(?:\s|\\[nr])*-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
    )
});

/// Certificates are no secret, but long, and nobody reads them.
pub(super) static CERTIFICATE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----"));

/// `https://user:password@host`.
pub(super) static URL: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@"'<>]+@"#));

/// Tokens that say by their form what they are: of JSON (RFC 7519), for joining Kubernetes, of well-known services, and
/// hashes of passwords (crypt(5)).
pub(super) static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        &[
            r"eyJ[A-Za-z0-9_=-]{4,}(?:\.[A-Za-z0-9_=+/-]*)*",
            r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b",
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
            r"\bgh[pousr]_[A-Za-z0-9]{20,}",
            r"\bgithub_pat_\w{20,}",
            r"\bglpat-[\w-]{16,}",
            r"\bxox[abeoprs]-[\w-]{10,}",
            r"\bnpm_[A-Za-z0-9]{30,}",
            r"\bdckr_pat_[\w-]{16,}",
            r"\bAIza[\w-]{30,}",
            r"\bsk-[\w-]{20,}",
            r"\bhv[sbr]\.[\w-]{20,}",
            r"\bAGE-SECRET-KEY-[0-9A-Z]{20,}",
            r#"\$(?:1|2[abxy]?|5|6|7|y|gy|apr1|argon2\w*)\$[^\s:"']{8,}"#,
        ]
        .join("|"),
    )
});

/// `Authorization: Bearer …`, and its value by itself.
pub(super) static AUTHORIZATION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?i)(authorization\\?["']?\s*[:=]\s*\[?\\?["']?(?:(?:bearer|basic|digest|negotiate)\s+)?|\b(?:bearer|basic)\s+)([A-Za-z0-9._~+/=-]{8,})"#,
    )
});

/// A value beside its name, as flags, configurations, JSON (also quoted once more) and environments write them: before,
/// and the value.
pub(super) static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let name = NAME;
    let loud = r"[A-Z0-9_]*(?:PASS|PWD|TOKEN|SECRET|KEY|CRED|AUTH|COOKIE|DSN)[A-Z0-9_]*";
    let value = r#"(?P<value>\\"(?:[^"\\])*\\"|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&}\])"']+)"#;
    let sign = r#"\\?["']?[ \t]*(?::=|=>|[:=])[ \t]*"#;
    let flag = format!(r"(?i:--[\w.-]*{name})[ \t]+");
    regex(&format!(
        r"(?P<before>(?i:[\w./-]*{name}){sign}|\b{loud}{sign}|{flag}){value}"
    ))
});

/// Under these names secrets are kept.
const NAME: &str = r"(?:passwor[dt]|passwd|passphrase|pass|pwd|secret|token|api[_.-]?key|(?:access|account|shared|private|secret|encryption|signing|master|auth|license)[_.-]?key|key[_-]?data|credentials?|cookie|signature|\b_?auth)s?";

/// A variable and its value, as manifests have them, on one line or two: before, and the value.
pub(super) static VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    let quote = r#"\\?["']?"#;
    let loud = r"[\w.-]*(?:pass|pwd|token|secret|key|cred|auth|cookie|dsn)[\w.-]*";
    regex(&format!(
        r#"(?P<before>(?i:\bname{quote}\s*:\s*{quote}{loud}{quote}\s*,?\s*{quote}value{quote}\s*:[ \t]*))(?P<value>\\"(?:[^"\\])*\\"|"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;&}}\])"']+)"#
    ))
});

/// A user and a password, as curl takes them and as netrc(5) has them: before, and the value.
pub(super) static LOGIN: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?P<before>(?:(?:^|\s)-u|--(?:proxy-)?user)[ \t=]+["']?[^\s:"']+:|\blogin\s+\S+\s+password\s+)(?P<value>[^\s"']+)"#,
    )
});

/// A name, before a text of several lines (YAML's block scalars): how far in it stands.
pub(super) static BLOCK: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(
        r#"^(?P<indent>[ \t]*(?:- +)*)["']?(?i:[\w./-]*{NAME})["']?[ \t]*:[ \t]*[|>][0-9+-]*[ \t]*$"#
    ))
});

/// What may be base64, of either alphabet, and long enough to hold a key.
pub(super) static BASE64: LazyLock<Regex> =
    LazyLock::new(|| regex(r"[A-Za-z0-9+/]{32,}={0,2}|[A-Za-z0-9_-]{32,}={0,2}"));

/// A name under which secrets are kept, of a field or a variable.
pub(super) static SECRET_NAME: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!("(?i)(?:{NAME}|dockerconfigjson|htpasswd)$")));
