//! The options before a key in authorized_keys (sshd(8)); pure.

use std::net::IpAddr;

use super::{Grant, Refusal, pattern};
use crate::calendar;

/// The options of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `cert-authority`: the key signs certificates, and does not log in itself.
    pub(crate) authority: bool,
    /// `principals="a,b"`: names, one of which a certificate has to have.
    pub(crate) principals: Option<Vec<String>>,
    /// `command="…"`.
    pub(crate) command: Option<String>,
    /// `environment="NAME=value"`.
    pub(crate) environment: Vec<(String, String)>,
    /// `from="patterns"`.
    pub(crate) from: Option<String>,
    /// `expiry-time="YYYYMMDD[HHMM[SS]][Z]"`, UTC, as fourteen digits.
    pub(crate) expiry: Option<String>,
    /// `pty`, `no-pty`.
    pub(crate) terminal: bool,
    /// `port-forwarding`, `no-port-forwarding`.
    pub(crate) forwarding: bool,
    /// `agent-forwarding`, `no-agent-forwarding`.
    pub(crate) agent: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            authority: false,
            principals: None,
            command: None,
            environment: Vec::new(),
            from: None,
            expiry: None,
            terminal: true,
            forwarding: true,
            agent: true,
        }
    }
}

impl Options {
    /// What the key may do for this client at this time, in seconds since 1970.
    pub(super) fn grant(&self, key: String, client: IpAddr, now: u64) -> Result<Grant, Refusal> {
        if let Some(from) = &self.from
            && !pattern::matches(from, client)
        {
            return Err(Refusal::Options("another address"));
        }
        if let Some(expiry) = &self.expiry
            && *expiry <= digits(now)
        {
            return Err(Refusal::Options("expired"));
        }
        Ok(Grant {
            key,
            command: self.command.clone(),
            environment: self.environment.clone(),
            terminal: self.terminal,
            forwarding: self.forwarding,
            agent: self.agent,
        })
    }
}

/// `None` when one of them is unknown or wrong: what it should have forbidden must not be allowed.
pub(crate) fn parse(text: &str) -> Option<Options> {
    let mut options = Options::default();
    for option in split(text)? {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name.to_ascii_lowercase(), Some(unquoted(value)?)),
            None => (option.to_ascii_lowercase(), None),
        };
        match (name.as_str(), value) {
            ("cert-authority", None) => options.authority = true,
            ("restrict", None) => {
                (options.terminal, options.forwarding, options.agent) = (false, false, false);
            }
            ("pty", None) => options.terminal = true,
            ("no-pty", None) => options.terminal = false,
            ("port-forwarding", None) => options.forwarding = true,
            ("no-port-forwarding", None) => options.forwarding = false,
            ("agent-forwarding", None) => options.agent = true,
            ("no-agent-forwarding", None) => options.agent = false,
            // This server has neither.
            ("user-rc" | "no-user-rc" | "x11-forwarding" | "no-x11-forwarding", None) => {}
            ("command", Some(command)) => options.command = Some(command),
            ("from", Some(from)) => options.from = Some(from),
            ("principals", Some(names)) => {
                options.principals = Some(names.split(',').map(str::to_owned).collect());
            }
            ("environment", Some(variable)) => {
                let (name, value) = variable.split_once('=')?;
                options
                    .environment
                    .push((name.to_owned(), value.to_owned()));
            }
            ("expiry-time", Some(time)) => options.expiry = Some(expiry(&time)?),
            _ => return None,
        }
    }
    Some(options)
}

/// At the commas outside of quotes.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!quoted).then_some(parts)
}

/// What is in the quotes.
fn unquoted(value: &str) -> Option<String> {
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    Some(inside.replace("\\\"", "\""))
}

fn expiry(time: &str) -> Option<String> {
    let time = time.strip_suffix(['Z', 'z']).unwrap_or(time);
    let good = matches!(time.len(), 8 | 12 | 14) && time.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| format!("{time:0<14}"))
}

/// A time as YYYYMMDDHHMMSS in UTC, which sorts as text.
fn digits(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = calendar::date(i64::try_from(days).unwrap_or(i64::MAX / 2));
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    fn granted(text: &str, now: u64) -> Result<Grant, Refusal> {
        parse(text).unwrap().grant("key".into(), CLIENT, now)
    }

    #[test]
    fn restrict_takes_all_and_others_give_back() {
        let grant = granted("restrict,pty", 0).unwrap();
        assert_eq!(
            (grant.terminal, grant.forwarding, grant.agent),
            (true, false, false)
        );
    }

    #[test]
    fn the_client_s_address_counts() {
        assert!(granted("from=\"10.0.0.0/8,!10.9.*\"", 0).is_ok());
        assert_eq!(
            granted("from=\"192.168.*\"", 0),
            Err(Refusal::Options("another address"))
        );
    }

    #[test]
    fn time_runs_out() {
        // 2000-02-29 12:34:56 UTC, and 2026-11-21.
        assert_eq!(digits(951_827_696), "20000229123456");
        assert_eq!(digits(1_795_219_200), "20261121000000");
        assert!(granted("expiry-time=\"20000229123457Z\"", 951_827_696).is_ok());
        assert_eq!(
            granted("expiry-time=\"20000229\"", 951_827_696),
            Err(Refusal::Options("expired"))
        );
        assert_eq!(parse("expiry-time=\"tomorrow\""), None);
    }

    #[test]
    fn commas_and_quotes_in_values() {
        let options = parse("command=\"a,b \\\"c\\\"\",environment=\"A=1=2\",environment=\"B=\"");
        let options = options.unwrap();
        assert_eq!(options.command.as_deref(), Some("a,b \"c\""));
        assert_eq!(
            options.environment,
            [("A".into(), "1=2".into()), ("B".into(), String::new())]
        );
        assert_eq!(parse("command=unquoted"), None);
        assert_eq!(parse("command=\"open"), None);
    }
}
