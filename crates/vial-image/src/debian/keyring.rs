//! Keyrings: which OpenPGP keys may sign an archive, and whether one of them signed a file.
//!
//! # Invariants
//! A signature counts only when the key (or a signing subkey bound to it, in both directions) is in the keyring, is not
//! revoked, was not expired when it signed, and when the hash is SHA-256 or stronger. What is returned is the very text
//! that was signed: nothing before, after or between the armor is ever looked at.

use std::path::Path;

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::KeyDetails;

use super::error::DebianError;

/// Debian's own keys; `keys/README.md` says where they are from.
const DEBIAN: &[(&str, &str)] = &[
    (
        "trixie-automatic.asc",
        include_str!("keys/trixie-automatic.asc"),
    ),
    (
        "trixie-security-automatic.asc",
        include_str!("keys/trixie-security-automatic.asc"),
    ),
    ("trixie-stable.asc", include_str!("keys/trixie-stable.asc")),
    (
        "bookworm-automatic.asc",
        include_str!("keys/bookworm-automatic.asc"),
    ),
    (
        "bookworm-security-automatic.asc",
        include_str!("keys/bookworm-security-automatic.asc"),
    ),
    (
        "bookworm-stable.asc",
        include_str!("keys/bookworm-stable.asc"),
    ),
];

/// A set of keys that may sign an archive.
#[derive(Debug, Clone)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// The archive keys of Debian 12 and 13, which also sign sid; compiled in.
    pub fn debian() -> Result<Self, DebianError> {
        let mut keys = Vec::new();
        for (name, text) in DEBIAN {
            keys.append(&mut Self::parse(name, text.as_bytes())?.keys);
        }
        Ok(Self { keys })
    }

    /// A keyring file, armored or binary, of one or more keys.
    pub fn from_file(path: &Path) -> Result<Self, DebianError> {
        let bytes = std::fs::read(path).map_err(DebianError::io("read the keyring", path))?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// A keyring from bytes, armored or binary; `name` is for errors.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, DebianError> {
        let refuse = |reason: String| DebianError::Keyring {
            name: name.to_owned(),
            reason,
        };
        let (keys, _) =
            SignedPublicKey::from_reader_many(bytes).map_err(|error| refuse(error.to_string()))?;
        let keys = keys
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| refuse(error.to_string()))?;
        if keys.is_empty() {
            return Err(refuse("it holds no key".to_owned()));
        }
        for key in &keys {
            key.verify_bindings()
                .map_err(|error| refuse(format!("key {}: {error}", key.fingerprint())))?;
        }
        Ok(Self { keys })
    }

    /// Fingerprints of the primary keys, upper-case hexadecimal.
    pub fn fingerprints(&self) -> Vec<String> {
        self.keys
            .iter()
            .map(|key| format!("{:X}", key.fingerprint()))
            .collect()
    }

    /// Checks a clear-signed file (InRelease) and returns its signed text, with `\n` line ends.
    ///
    /// One good signature is enough, as it is for apt: an archive signs with old and new keys at once.
    pub fn open(&self, file: &str, bytes: &[u8]) -> Result<String, DebianError> {
        let refuse = |reason: String| DebianError::Signature {
            file: file.to_owned(),
            reason,
        };
        let (message, _) = CleartextSignedMessage::from_armor(bytes)
            .map_err(|error| refuse(format!("not a complete clear-signed file: {error}")))?;
        let text = message.signed_text();
        let mut reasons = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, text.as_bytes()) {
                Ok(()) => return Ok(text.replace("\r\n", "\n")),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            reasons.push("it has no signature".to_owned());
        }
        Err(refuse(reasons.join("; ")))
    }

    fn check(&self, signature: &Signature, text: &[u8]) -> Result<(), String> {
        if !matches!(signature.typ(), Some(SignatureType::Text)) {
            return Err("a signature is not one over a text".to_owned());
        }
        if !matches!(
            signature.hash_alg(),
            Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
        ) {
            return Err("a signature has a hash that is too weak".to_owned());
        }
        let made = u64::from(
            signature
                .created()
                .ok_or("a signature has no date")?
                .as_secs(),
        );
        for key in &self.keys {
            let details = &key.details;
            let own: Vec<&Signature> = details
                .direct_signatures
                .iter()
                .chain(details.users.iter().flat_map(|user| &user.signatures))
                .collect();
            let alive = details.revocation_signatures.is_empty()
                && valid_at(key.created_at().as_secs(), &own, made);
            if own.iter().any(|own| own.key_flags().sign()) && signature.verify(key, text).is_ok() {
                return alive
                    .then_some(())
                    .ok_or_else(|| format!("key {:X} is expired or revoked", key.fingerprint()));
            }
            for subkey in &key.public_subkeys {
                let bindings: Vec<&Signature> = subkey.signatures.iter().collect();
                let revoked = bindings
                    .iter()
                    .any(|binding| binding.typ() == Some(SignatureType::SubkeyRevocation));
                if bindings.iter().any(|binding| binding.key_flags().sign())
                    && signature.verify(subkey, text).is_ok()
                {
                    let alive = alive
                        && !revoked
                        && valid_at(subkey.created_at().as_secs(), &bindings, made);
                    return alive.then_some(()).ok_or_else(|| {
                        format!("key {:X} is expired or revoked", subkey.fingerprint())
                    });
                }
            }
        }
        let by: Vec<String> = signature
            .issuer_fingerprint()
            .iter()
            .map(|fingerprint| format!("{fingerprint:X}"))
            .collect();
        Err(format!(
            "the signature by {} is not by a key of the keyring, or the text was changed",
            if by.is_empty() {
                "an unnamed key".to_owned()
            } else {
                by.join(", ")
            }
        ))
    }
}

/// Whether a key made at `created` may sign at `made` (both seconds since 1970), by the newest of its self-signatures.
fn valid_at(created: u32, own: &[&Signature], made: u64) -> bool {
    let newest = own
        .iter()
        .max_by_key(|signature| signature.created().map_or(0, |date| date.as_secs()));
    let life = newest
        .and_then(|signature| signature.key_expiration_time())
        .map_or(0, |life| life.as_secs());
    let created = u64::from(created);
    // RFC 9580 5.2.3.13: an expiration time of zero is "never".
    made >= created && (life == 0 || made < created + u64::from(life))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgp::composed::{
        ArmorOptions, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
    };
    use pgp::types::{Password, SigningKey};

    #[test]
    fn debians_keys_are_the_documented_ones() {
        let readme = include_str!("keys/README.md");
        let keyring = Keyring::debian().unwrap();
        assert_eq!(keyring.keys.len(), DEBIAN.len());
        for key in &keyring.keys {
            assert!(
                readme.contains(&format!("{:X}", key.fingerprint())),
                "{:X}",
                key.fingerprint()
            );
            for subkey in &key.public_subkeys {
                assert!(
                    readme.contains(&format!("{:X}", subkey.fingerprint())),
                    "{:X}",
                    subkey.fingerprint()
                );
            }
        }
    }

    /// A key with a subkey: who may sign is said by the flags.
    fn key(primary_signs: bool, subkey_signs: bool) -> SignedSecretKey {
        let mut subkey = SubkeyParamsBuilder::default();
        subkey
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(subkey_signs)
            .can_authenticate(!subkey_signs);
        let mut params = SecretKeyParamsBuilder::default();
        params
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(primary_signs)
            .primary_user_id("Test <test@localhost>".into());
        params
            .subkeys(vec![subkey.build().unwrap()])
            .build()
            .unwrap()
            .generate(rand::thread_rng())
            .unwrap()
    }

    fn sign(text: &str, by: &impl SigningKey) -> Vec<u8> {
        let signed =
            CleartextSignedMessage::sign(rand::thread_rng(), text, by, &Password::empty()).unwrap();
        signed.to_armored_bytes(ArmorOptions::default()).unwrap()
    }

    fn keyring(key: &SignedSecretKey) -> Keyring {
        let public = SignedPublicKey::from(key.clone())
            .to_armored_bytes(ArmorOptions::default())
            .unwrap();
        Keyring::parse("test", &public).unwrap()
    }

    #[test]
    fn only_keys_that_are_for_signing_count() {
        let text = "Suite: test\n- dashed\n";
        for (primary_signs, subkey_signs) in [(true, false), (false, true)] {
            let key = key(primary_signs, subkey_signs);
            let keyring = keyring(&key);
            assert_eq!(
                keyring.open("x", &sign(text, &key.primary_key)).is_ok(),
                primary_signs
            );
            assert_eq!(
                keyring
                    .open("x", &sign(text, &key.secret_subkeys[0].key))
                    .is_ok(),
                subkey_signs
            );
        }
    }

    #[test]
    fn gives_back_the_signed_text_and_nothing_else() {
        let (key, text) = (key(true, false), "Suite: test\n- dashed\nend");
        let signed = sign(text, &key.primary_key);
        assert_eq!(keyring(&key).open("x", &signed).unwrap(), text);
        let after = [signed.as_slice(), b"Suite: other\n"].concat();
        assert!(keyring(&key).open("x", &after).is_err());
    }

    #[test]
    fn a_revoked_or_expired_key_does_not_count() {
        let key = key(true, false);
        let signed = sign("Suite: test\n", &key.primary_key);
        let mut keyring = keyring(&key);
        let certification = keyring.keys[0].details.users[0].signatures[0].clone();
        keyring.keys[0]
            .details
            .revocation_signatures
            .push(certification);
        let error = keyring.open("x", &signed).unwrap_err().to_string();
        assert!(error.contains("is expired or revoked"), "{error}");
        assert!(!valid_at(100, &[], 99), "a signature older than its key");
        assert!(valid_at(100, &[], u64::MAX), "no expiration is for ever");
    }

    #[test]
    fn refuses_what_is_no_keyring() {
        for bytes in [
            &b""[..],
            b"hello",
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        ] {
            let error = Keyring::parse("mine.gpg", bytes).unwrap_err().to_string();
            assert!(error.starts_with("keyring mine.gpg: "), "{error}");
        }
    }

    #[test]
    fn refuses_an_unsigned_file() {
        let error = Keyring::debian()
            .unwrap()
            .open("dists/x/InRelease", b"Origin: Debian\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("dists/x/InRelease: no valid signature"),
            "{error}"
        );
    }
}
