//! Secrets in text: by how they look, and those that are known.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use regex::Captures;

use super::patterns::{
    AUTHORIZATION, BASE64, BLOCK, CERTIFICATE, KEY, KEY_END, LOGIN, NAMED, SECRET_NAME, TOKEN, URL,
    VARIABLE,
};
use super::{MARK, Redactor};

/// How often text may be encoded in text.
const DEPTH: usize = 3;

impl Redactor {
    /// The text without what looks like a secret or is known to be one.
    pub(crate) fn text(&self, text: &str) -> String {
        self.at_depth(text, DEPTH).into_owned()
    }

    fn at_depth<'a>(&self, text: &'a str, depth: usize) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        step(&mut text, |text| KEY.replace_all(text, "[removed: a key]"));
        step(&mut text, |text| {
            KEY_END.replace_all(text, "[removed: a key]")
        });
        step(&mut text, |text| {
            CERTIFICATE.replace_all(text, "[a certificate]")
        });
        step(&mut text, |text| self.without_known(text));
        step(&mut text, |text| TOKEN.replace_all(text, MARK));
        step(&mut text, |text| {
            AUTHORIZATION.replace_all(text, "${1}[removed]")
        });
        step(&mut text, |text| {
            URL.replace_all(text, |found: &Captures<'_>| url(text, found))
        });
        step(&mut text, blocks);
        for pattern in [&VARIABLE, &LOGIN, &NAMED] {
            step(&mut text, |text| pattern.replace_all(text, named));
        }
        step(&mut text, |text| {
            BASE64.replace_all(text, |found: &Captures<'_>| self.encoded(&found[0], depth))
        });
        // Where only the words are left, they are no key; but nobody shall have to look.
        step(&mut text, |text| match text.contains("PRIVATE KEY") {
            true => text.replace("PRIVATE KEY", "private key").into(),
            false => text.into(),
        });
        text
    }

    /// A word that may be base64: gone, when there is a secret in what it says.
    fn encoded(&self, word: &str, depth: usize) -> String {
        let bytes = match depth {
            0 => None,
            _ => decode(word),
        };
        let Some(bytes) = bytes else {
            return word.to_owned();
        };
        let text = String::from_utf8_lossy(&bytes);
        match self.at_depth(&text, depth - 1) == text {
            true => word.to_owned(),
            false => MARK.to_owned(),
        }
    }

    /// A command's words. A flag may have its value in the next one.
    pub(crate) fn words(&self, words: &[String]) -> Vec<String> {
        let flags = std::iter::once("").chain(words.iter().map(String::as_str));
        let secret = |flag: &str, word: &str| match flag {
            "-u" | "--user" | "--proxy-user" => word.contains(':'),
            _ => {
                let is_flag = flag.starts_with('-') && !flag.contains('=');
                is_flag && SECRET_NAME.is_match(flag) && !harmless(word)
            }
        };
        let shown = flags
            .zip(words)
            .map(|(flag, word)| match secret(flag, word) {
                true => MARK.to_owned(),
                false => self.text(word),
            });
        shown.collect()
    }
}

/// Replaces, without a copy where nothing is found.
fn step(text: &mut Cow<'_, str>, change: impl FnOnce(&str) -> Cow<'_, str>) {
    if let Cow::Owned(changed) = change(text) {
        *text = Cow::Owned(changed);
    }
}

/// Is it by its look no secret: a path, a switch, a number, an object?
pub(super) fn harmless(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'', '\\']);
    let switch = ["true", "false", "null", "nil", "none", "<nil>", "yes", "no"];
    value.is_empty()
        || value.starts_with(['/', '{', '[', '<', '$', '*', '-'])
        || switch.contains(&value.to_ascii_lowercase().as_str())
        || value.len() < 4 && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// A user and a password go; `name@sha256:…` is an image.
fn url(text: &str, found: &Captures<'_>) -> String {
    let whole = found.get(0).map_or(0..0, |whole| whole.range());
    match text[whole.end..].starts_with("sha256:") {
        true => found[0].to_owned(),
        false => format!("{}{MARK}@", &found[1]),
    }
}

/// The lines of a text that stands below its name go: those that are further in.
fn blocks(text: &str) -> Cow<'_, str> {
    if !text.contains(['|', '>']) {
        return text.into();
    }
    let depth = |line: &str| line.len() - line.trim_start_matches([' ', '\t', '-']).len();
    let mut left = String::with_capacity(text.len());
    // How far in the name stands, while its lines are passed over.
    let mut within = None;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        let blank = content.is_empty();
        if within.is_some_and(|indent| blank || depth(content) > indent) {
            continue;
        }
        within = BLOCK.captures(content).map(|found| found["indent"].len());
        match within {
            Some(_) => {
                left += content.trim_end_matches(|end: char| end != ':');
                left += &format!(" {MARK}\n");
            }
            None => left += line,
        }
    }
    left.into()
}

fn named(found: &Captures<'_>) -> String {
    match harmless(&found["value"]) {
        true => found[0].to_owned(),
        false => format!("{}{MARK}", &found["before"]),
    }
}

/// Of whatever alphabet, with padding or without; cut off at the end, too.
fn decode(word: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let word = word.trim_end_matches('=');
    let whole = &word[..word.len() - usize::from(word.len() % 4 == 1)];
    [alphabet::STANDARD, alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(whole).ok())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::super::Known;
    use super::*;

    fn shown(text: &str) -> String {
        Redactor::default().text(text)
    }

    const BODY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgVcB/UNPxalR9zDYL";

    fn pem(label: &str) -> String {
        format!("-----BEGIN {label}-----\n{BODY}\n{BODY}\nabcd==\n-----END {label}-----\n")
    }

    #[test]
    fn what_secrets_look_like_goes() {
        for (text, expected) in [
            (
                "https://ann:pw@example.org/x@y",
                "https://[removed]@example.org/x@y",
            ),
            ("--password=swordfish next", "--password=[removed] next"),
            ("--token swordfish next", "--token [removed] next"),
            ("password: \"sword fish\"", "password: [removed]"),
            (
                "{\"password\":\"sword\\\"fish\",\"a\":1}",
                "{\"password\":[removed],\"a\":1}",
            ),
            (
                "msg=\"{\\\"token\\\":\\\"swordfish\\\"}\"",
                "msg=\"{\\\"token\\\":[removed]}\"",
            ),
            ("DB_PASSWORD_1=swordfish", "DB_PASSWORD_1=[removed]"),
            (
                "Authorization: Bearer abcdefgh",
                "Authorization: Bearer [removed]",
            ),
            (
                "join --token abcdef.0123456789abcdef",
                "join --token [removed]",
            ),
            ("root:$6$salt$hashhashhash:1", "root:[removed]:1"),
            ("key AKIAIOSFODNN7EXAMPLE", "key [removed]"),
            ("?access_token=swordfish&x=1", "?access_token=[removed]&x=1"),
            (
                "curl -u ann:swordfish http://x",
                "curl -u ann:[removed] http://x",
            ),
            (
                "login ann password swordfish",
                "login ann password [removed]",
            ),
            ("db_pass: swordfish", "db_pass: [removed]"),
            ("{\"auth\":\"YW5uOnB3\"}", "{\"auth\":[removed]}"),
            ("AccountKey=c3dvcmRmaXNo;x", "AccountKey=[removed];x"),
            (
                "- name: API_TOKEN\n  value: swordfish\n- name: A\n  value: b",
                "- name: API_TOKEN\n  value: [removed]\n- name: A\n  value: b",
            ),
            (
                "{name: DB_PASS, value: 'sword fish'}",
                "{name: DB_PASS, value: [removed]}",
            ),
            (
                "{\"name\":\"X_KEY\",\"value\":\"swordfish\"}",
                "{\"name\":\"X_KEY\",\"value\":[removed]}",
            ),
            (
                "a: 1\npassword: |\n  sword\n\n  fish\nb: |\n  stays\n",
                "a: 1\npassword: [removed]\nb: |\n  stays\n",
            ),
            (
                "x:\n- token: >-\n    swordfish\n  other: stays\n",
                "x:\n- token: [removed]\n  other: stays\n",
            ),
            ("a eyJhbGciOi.eyJpc3Mi.c2ln b", "a [removed] b"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn what_is_none_stays() {
        for text in [
            "FLAG: --tls-private-key-file=\"/etc/kubernetes/pki/apiserver.key\"",
            "secretName: web-tls",
            "automountServiceAccountToken: true",
            "- name: kube-api-access-hvgfg\n  projected:",
            "useradd --user ann; id -u ann",
            "a > b: |\n  stays",
            "--anonymous-auth=false --client-cert-auth=true",
            "\"Caches are synced\" controller=\"bootstrap-token\"",
            "image@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "docker-pullable://agnhost@sha256:0123456789abcdef0123456789abcdef",
            "cannot read https://127.0.0.1:6443/livez",
            "E1121 19:18:36.796457      20 options.go:205] The manifest file is empty, ignoring.",
            "pod coredns-5685d8d494-9b2kx_0bd9e211-55fb-47f6-a4cc-1ffda158a451",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn no_form_of_a_key_is_left() {
        let key = pem("EC PRIVATE KEY");
        let logged: String = key
            .lines()
            .map(|line| format!("2026 stdout F {line}\n"))
            .collect();
        let half = &key[..key.len() / 2];
        let end = &key[key.len() / 2 - 20..];
        let forms = [
            key.clone(),
            key.replace('\n', "\\n"),
            STANDARD.encode(&key),
            URL_SAFE_NO_PAD.encode(&key),
            STANDARD.encode(STANDARD.encode(&key)),
            format!("data: {}", STANDARD.encode(format!("x\n{key}"))),
            logged,
            half.to_owned(),
            end.to_owned(),
            pem("OPENSSH PRIVATE KEY"),
            pem("PGP PRIVATE KEY BLOCK"),
        ];
        for form in forms {
            let left = shown(&format!("before\n{form}\nafter"));
            assert!(left.starts_with("before"), "{left}");
            assert!(!left.contains("PRIVATE KEY"), "{left}");
            assert!(!left.contains(&BODY[..20]), "{form}\n{left}");
            assert!(
                !left.contains(&STANDARD.encode(&BODY[..48])[..20]),
                "{left}"
            );
        }
    }

    #[test]
    fn a_command_has_no_secret_in_its_words() {
        let words = [
            "run",
            "--password",
            "swordfish",
            "--token-file",
            "/x",
            "-e",
            "A=b",
        ];
        let words = words.map(ToOwned::to_owned);
        let login = ["curl", "-u", "ann:swordfish"].map(ToOwned::to_owned);
        assert_eq!(Redactor::default().words(&login)[2], MARK);
        let shown = Redactor::default().words(&words);
        assert_eq!(
            shown.join(" "),
            "run --password [removed] --token-file /x -e A=b"
        );
    }

    #[test]
    fn what_is_known_is_found_wherever_it_is() {
        let mut known = Known::default();
        known.add("open sesame\n");
        known.add("short");
        let redactor = Redactor::knowing(&known);
        let encoded = STANDARD.encode("open sesame\n");
        let text = format!("he said open sesame, in short {encoded}");
        assert_eq!(
            redactor.text(&text),
            "he said [removed], in short [removed]"
        );
        assert_eq!(Redactor::knowing(&Known::default()).text("a"), "a");

        let long: String = (0..2_000).map(|number| format!("{number}.")).collect();
        known.add(&long);
        known.add("kubelet");
        let redactor = Redactor::knowing(&known);
        let left = redactor.text(&format!("kubelet got {long}"));
        assert!(left.starts_with("kubelet got [removed]"), "{left}");
        assert!(left.len() < long.len() / 5, "{left}");
    }

    proptest! {
        #[test]
        fn whatever_is_around_it_no_secret_is_left(
            before in "(?s).{0,40}",
            after in "(?s).{0,40}",
            token in "[A-Za-z0-9]{20,40}",
            form in 0_usize..5,
        ) {
            let secret = match form {
                0 => pem("PRIVATE KEY"),
                1 => format!("eyJ{token}.eyJ{token}.{token}"),
                2 => format!("\npassword: {token}"),
                3 => format!("\nAuthorization: Bearer {token}"),
                _ => STANDARD.encode(pem("RSA PRIVATE KEY")),
            };
            let left = shown(&format!("{before} {secret} {after}"));
            prop_assert!(!left.contains("PRIVATE KEY"));
            prop_assert!(!left.contains("eyJ"), "{}", left);
            prop_assert!(!left.contains(BODY), "{}", left);
            prop_assert!(form == 0 || form == 4 || !left.contains(&token), "{}", left);
        }
    }
}
