//! ed25519 keys for OpenSSH: of nodes (host keys) and of the person who logs in (user keys).
//!
//! Host keys are made with the cluster, so that `known_hosts` is complete before the first login and nobody is asked
//! to trust a fingerprint.

use std::fmt;

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::Error;

/// A node's identity: `/etc/ssh/ssh_host_ed25519_key`.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey {
    /// OpenSSH's own PEM format, unencrypted.
    pub private: String,
    /// One line without its end: `ssh-ed25519 AAAA… COMMENT`.
    pub public: String,
}

/// A person's identity: what is in `~/.ssh/id_ed25519`.
#[derive(Clone, PartialEq, Eq)]
pub struct UserKey {
    /// OpenSSH's own PEM format, unencrypted.
    pub private: String,
    /// One line without its end, fit for `authorized_keys`: `ssh-ed25519 AAAA… COMMENT`.
    pub public: String,
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl HostKey {
    /// Makes a new key; the comment is a word for people: the node's name.
    ///
    /// # Errors
    /// [`Error::Ssh`] when the key cannot be made or encoded.
    pub fn generate(comment: &str) -> Result<Self, Error> {
        let (private, public) = generate(comment)?;
        Ok(HostKey { private, public })
    }
}

/// A line of `known_hosts` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): these names have this public key.
#[must_use]
pub fn known_hosts_line(public: &str, names: &[&str]) -> String {
    // Without the comment.
    let key = public.split(' ').take(2).collect::<Vec<_>>().join(" ");
    format!("{} {key}", names.join(","))
}

impl UserKey {
    /// Makes a new key; the comment is a word for people: `vial-NAME`.
    ///
    /// # Errors
    /// [`Error::Ssh`] when the key cannot be made or encoded.
    pub fn generate(comment: &str) -> Result<Self, Error> {
        let (private, public) = generate(comment)?;
        Ok(UserKey { private, public })
    }

    /// Both halves of a private key that is not encrypted.
    ///
    /// # Errors
    /// [`Error::Ssh`] when it is none.
    pub fn of_private(private: &str) -> Result<Self, Error> {
        let fail = |source| Error::Ssh {
            comment: "a private key".to_owned(),
            source,
        };
        let key = PrivateKey::from_openssh(private).map_err(fail)?;
        let public = key.public_key().to_openssh().map_err(fail)?;
        let private = private.to_owned();
        Ok(UserKey { private, public })
    }
}

fn generate(comment: &str) -> Result<(String, String), Error> {
    let fail = |source| Error::Ssh {
        comment: comment.to_owned(),
        source,
    };
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(fail)?;
    key.set_comment(comment);
    let private = key.to_openssh(LineEnding::LF).map_err(fail)?.to_string();
    let public = key.public_key().to_openssh().map_err(fail)?;
    Ok((private, public))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_read_back() {
        let key = HostKey::generate("w-1").unwrap();
        let private = PrivateKey::from_openssh(&key.private).unwrap();
        assert_eq!(private.public_key().to_openssh().unwrap(), key.public);
        assert!(key.public.starts_with("ssh-ed25519 "));
        assert!(key.public.ends_with(" w-1"));
        assert!(!key.public.contains('\n'));
        let user = UserKey::of_private(&key.private).unwrap();
        assert_eq!(user.public, key.public);
    }

    #[test]
    fn known_hosts_leave_the_comment_out() {
        let key = HostKey::generate("w-1 of dev").unwrap();
        let line = known_hosts_line(&key.public, &["w-1.dev.vial", "10.89.0.101"]);
        assert!(line.starts_with("w-1.dev.vial,10.89.0.101 ssh-ed25519 "));
        assert_eq!(line.split(' ').count(), 3);
    }

    #[test]
    fn keys_differ_and_debug_output_keeps_the_secret() {
        let (one, two) = (
            UserKey::generate("a").unwrap(),
            UserKey::generate("a").unwrap(),
        );
        assert_ne!(one.public, two.public);
        assert!(!format!("{one:?}").contains("PRIVATE KEY"));
    }
}
