//! The key with which the API server signs the tokens of service accounts.

use std::fmt;

use crate::Error;

/// An ECDSA P-256 key pair: tokens are signed with ES256.
#[derive(Clone, PartialEq, Eq)]
pub struct ServiceAccountKeys {
    /// PKCS #8 PEM, for `--service-account-signing-key-file` of the API server and
    /// `--service-account-private-key-file` of the controller manager.
    pub private_pem: String,
    /// SubjectPublicKeyInfo PEM, for `--service-account-key-file`.
    pub public_pem: String,
}

impl fmt::Debug for ServiceAccountKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountKeys")
            .field("public_pem", &self.public_pem)
            .finish_non_exhaustive()
    }
}

impl ServiceAccountKeys {
    /// Makes a new key pair.
    ///
    /// # Errors
    /// [`Error::ServiceAccount`] when the kernel gives no random numbers.
    pub fn generate() -> Result<Self, Error> {
        let key = rcgen::KeyPair::generate().map_err(|source| Error::ServiceAccount { source })?;
        Ok(ServiceAccountKeys {
            private_pem: key.serialize_pem(),
            public_pem: key.public_key_pem(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_halves_belong_together() {
        let keys = ServiceAccountKeys::generate().unwrap();
        let private = rcgen::KeyPair::from_pem(&keys.private_pem).unwrap();
        assert_eq!(private.public_key_pem(), keys.public_pem);
        assert!(
            keys.private_pem
                .starts_with("-----BEGIN PRIVATE KEY-----\n")
        );
        assert!(keys.public_pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert_ne!(keys, ServiceAccountKeys::generate().unwrap());
    }

    #[test]
    fn debug_output_keeps_the_secret() {
        let keys = ServiceAccountKeys::generate().unwrap();
        assert!(!format!("{keys:?}").contains("PRIVATE KEY"));
    }
}
