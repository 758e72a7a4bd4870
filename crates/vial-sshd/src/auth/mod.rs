//! Whether a key, or a certificate, may log in, and what it may do then.
//!
//! ```text
//!  key offered ──► authorized_keys, read anew ──► options hold for this client? ──► Grant
//!  certificate ──► signed by a trusted CA? ──► certificate rules (pure) ──────────► Grant
//! ```
//! Keys only: no passwords, no questions. SHA-1 (`ssh-rsa` signatures) is refused everywhere.

mod certificate;
mod keys;
mod options;
mod pattern;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::keys::{Certificate, HashAlg, PublicKey};

pub(crate) use keys::{Entry, parse as parse_authorized_keys};
pub(crate) use pattern::matches as address_matches;

/// What a login may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The key's fingerprint, and the certificate's name, for the log.
    pub(crate) key: String,
    /// Runs instead of whatever was asked for.
    pub(crate) command: Option<String>,
    /// Set in sessions.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether it gets a terminal.
    pub(crate) terminal: bool,
    /// Whether it may forward ports and sockets.
    pub(crate) forwarding: bool,
    /// Whether it may forward its agent.
    pub(crate) agent: bool,
}

/// Where keys come from.
#[derive(Debug, Clone)]
pub(crate) struct Authorities {
    /// authorized_keys(5).
    pub(crate) keys: PathBuf,
    /// Public keys of certificate authorities, one a line.
    pub(crate) user_ca: Option<PathBuf>,
}

/// Why somebody may not log in: said in the server's log only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No line of authorized_keys has it.
    #[error("unknown key")]
    Unknown,
    /// Its line does not want this client, or not any more.
    #[error("its options refuse: {0}")]
    Options(&'static str),
    /// The certificate is not good for this login.
    #[error("its certificate refuses: {0}")]
    Certificate(String),
}

impl Authorities {
    /// What a plain key may do.
    pub(crate) fn key(&self, key: &PublicKey, client: IpAddr) -> Result<Grant, Refusal> {
        let mut refusal = Refusal::Unknown;
        for entry in self.entries() {
            if entry.options.authority || entry.key.key_data() != key.key_data() {
                continue;
            }
            // Another line may have the same key with other options.
            match entry.options.grant(fingerprint(key), client, now()) {
                Ok(grant) => return Ok(grant),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    /// What a certificate may do. Its signature and its holder's were verified by russh.
    pub(crate) fn certificate(
        &self,
        certificate: &Certificate,
        login: &str,
        client: IpAddr,
    ) -> Result<Grant, Refusal> {
        let signer = certificate.signature_key();
        let trusted = self.user_ca.as_ref().is_some_and(|path| {
            let text = std::fs::read(path).unwrap_or_default();
            let mut keys = keys::parse(&String::from_utf8_lossy(&text)).into_iter();
            keys.any(|entry| entry.key.key_data() == signer)
        });
        let rules = certificate::Rules::of(certificate);
        if trusted {
            return rules.grant(&[login], client, now());
        }
        let authority = self
            .entries()
            .into_iter()
            .find(|entry| entry.options.authority && entry.key.key_data() == signer)
            .ok_or_else(|| Refusal::Certificate("its authority is not trusted".into()))?;
        let allowed = match &authority.options.principals {
            Some(principals) => principals.iter().map(String::as_str).collect(),
            None => vec![login],
        };
        let grant = rules.grant(&allowed, client, now())?;
        // Both have to allow a thing.
        let line = authority.options.grant(grant.key.clone(), client, now())?;
        Ok(Grant {
            command: line.command.or(grant.command),
            environment: line.environment,
            terminal: line.terminal && grant.terminal,
            forwarding: line.forwarding && grant.forwarding,
            agent: line.agent && grant.agent,
            key: grant.key,
        })
    }

    /// Whether certificates could be good for anything: then a key cannot be refused before it has signed, because
    /// russh asks about a certificate's key without saying that it belongs to one.
    pub(crate) fn knows_certificates(&self) -> bool {
        self.user_ca.is_some() || self.entries().iter().any(|entry| entry.options.authority)
    }

    fn entries(&self) -> Vec<Entry> {
        let text = std::fs::read(&self.keys).unwrap_or_default();
        keys::parse(&String::from_utf8_lossy(&text))
    }
}

/// `SHA256:…` with the kind of key, as `ssh-keygen -l` shows it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

/// Seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map(|since| since.as_secs()).unwrap_or_default()
}
