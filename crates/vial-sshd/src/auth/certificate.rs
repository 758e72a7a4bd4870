//! When a user certificate lets somebody in (OpenSSH's PROTOCOL.certkeys); pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg};

use super::{Grant, Refusal, pattern};

/// What a certificate says, apart from its signatures.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    key: String,
    user: bool,
    /// Whether the authority signed with SHA-1.
    sha1: bool,
    principals: Vec<String>,
    /// Seconds since 1970: from, and the first that is too late.
    validity: (u64, u64),
    critical: BTreeMap<String, String>,
    extensions: BTreeMap<String, String>,
}

impl Rules {
    pub(super) fn of(certificate: &Certificate) -> Self {
        let fingerprint = certificate.public_key().fingerprint(HashAlg::Sha256);
        Self {
            key: format!(
                "{} {fingerprint} ID {:?} (serial {}) CA {}",
                certificate.algorithm().to_certificate_type(),
                certificate.key_id(),
                certificate.serial(),
                certificate.signature_key().fingerprint(HashAlg::Sha256)
            ),
            user: certificate.cert_type() == CertType::User,
            sha1: certificate.signature().algorithm() == Algorithm::Rsa { hash: None },
            principals: certificate.valid_principals().to_vec(),
            validity: (certificate.valid_after(), certificate.valid_before()),
            critical: certificate.critical_options().0.clone(),
            extensions: certificate.extensions().0.clone(),
        }
    }

    /// What it may do when it is one for any of the `allowed` principals.
    pub(super) fn grant(
        &self,
        allowed: &[&str],
        client: IpAddr,
        now: u64,
    ) -> Result<Grant, Refusal> {
        let refuse = |why: &str| Err(Refusal::Certificate(why.to_owned()));
        if !self.user {
            return refuse("it is one for hosts");
        }
        if self.sha1 {
            return refuse("it is signed with SHA-1");
        }
        if now < self.validity.0 || now >= self.validity.1 {
            return refuse("it is not valid now");
        }
        // No principals would mean everybody; OpenSSH refuses that for trusted authorities, too.
        if !self
            .principals
            .iter()
            .any(|name| allowed.contains(&name.as_str()))
        {
            return refuse("it is for somebody else");
        }
        let mut command = None;
        for (name, value) in &self.critical {
            match name.as_str() {
                "force-command" => command = Some(value.clone()),
                "source-address" if pattern::matches(value, client) => {}
                "source-address" => return refuse("it is for another address"),
                _ => return Err(Refusal::Certificate(format!("unknown option {name}"))),
            }
        }
        Ok(Grant {
            key: self.key.clone(),
            command,
            environment: Vec::new(),
            terminal: self.extensions.contains_key("permit-pty"),
            forwarding: self.extensions.contains_key("permit-port-forwarding"),
            agent: self.extensions.contains_key("permit-agent-forwarding"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    fn rules() -> Rules {
        Rules {
            key: "key".into(),
            user: true,
            sha1: false,
            principals: vec!["ann".into(), "admin".into()],
            validity: (100, 200),
            critical: BTreeMap::new(),
            extensions: BTreeMap::from([("permit-pty".into(), String::new())]),
        }
    }

    fn refused(rules: &Rules, allowed: &str, now: u64) -> String {
        rules
            .grant(&[allowed], CLIENT, now)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn its_extensions_say_what_it_may() {
        let grant = rules().grant(&["admin"], CLIENT, 150).unwrap();
        assert!(grant.terminal && !grant.forwarding && !grant.agent);
    }

    #[test]
    fn wrong_times_names_and_kinds_are_refused() {
        assert!(rules().grant(&["ann"], CLIENT, 100).is_ok());
        assert!(refused(&rules(), "ann", 99).contains("not valid now"));
        assert!(refused(&rules(), "ann", 200).contains("not valid now"));
        assert!(refused(&rules(), "bob", 150).contains("somebody else"));
        let nobody = Rules {
            principals: Vec::new(),
            ..rules()
        };
        assert!(refused(&nobody, "ann", 150).contains("somebody else"));
        assert!(
            refused(
                &Rules {
                    user: false,
                    ..rules()
                },
                "ann",
                150
            )
            .contains("hosts")
        );
        assert!(
            refused(
                &Rules {
                    sha1: true,
                    ..rules()
                },
                "ann",
                150
            )
            .contains("SHA-1")
        );
    }

    #[test]
    fn critical_options_are_obeyed_or_refused() {
        let with = |name: &str, value: &str| Rules {
            critical: BTreeMap::from([(name.into(), value.into())]),
            ..rules()
        };
        let grant = with("force-command", "id").grant(&["ann"], CLIENT, 150);
        assert_eq!(grant.unwrap().command.as_deref(), Some("id"));
        assert!(
            with("source-address", "10.0.0.0/8")
                .grant(&["ann"], CLIENT, 150)
                .is_ok()
        );
        assert!(
            refused(&with("source-address", "11.0.0.0/8"), "ann", 150).contains("another address")
        );
        assert!(refused(&with("verify-required", ""), "ann", 150).contains("unknown option"));
    }
}
