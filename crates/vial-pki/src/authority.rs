//! The certificate authority: makes itself, then certificates for everyone else.
//!
//! A cluster has three: `kubernetes` (API server, its clients, kubelets), `etcd` and `front-proxy`, as the Kubernetes
//! documentation "PKI certificates and requirements" asks for.

use std::fmt;
use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ssh_key::rand_core::{OsRng, RngCore};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::Error;

/// Certificates begin to be valid this long before they are made: guests' clocks may be behind the host's.
const BACKDATE: Duration = Duration::hours(1);
/// How long a CA is valid.
const AUTHORITY_DAYS: i64 = 3650;

/// For which direction of a TLS connection a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// To be presented by the side that dials.
    Client,
    /// To be presented by the side that listens.
    Server,
    /// Both: etcd's peers.
    Both,
}

/// A name under which a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum San {
    /// A DNS name; a first label of `*` is a wildcard.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl From<IpAddr> for San {
    fn from(address: IpAddr) -> Self {
        San::Ip(address)
    }
}

/// Text that is an address becomes one, all else is a DNS name.
impl From<&str> for San {
    fn from(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| San::Dns(text.to_owned()), San::Ip)
    }
}

/// What a certificate shall say.
///
/// Kubernetes reads the common name as the user (`system:node:w-1`) and the organization as the group
/// (`system:nodes`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The subject's common name.
    pub common_name: String,
    /// The subject's organizations; at most one can be encoded.
    pub organizations: Vec<String>,
    /// Names and addresses of a server.
    pub sans: Vec<San>,
    /// Client, server or both.
    pub usage: Usage,
    /// How long it is valid, in days.
    pub validity_days: u32,
}

impl CertificateRequest {
    /// How long a certificate is valid unless asked otherwise, in days.
    pub const DEFAULT_DAYS: u32 = 365;

    /// A client's certificate: a user and, for Kubernetes, its group.
    #[must_use]
    pub fn client(common_name: impl Into<String>, organization: Option<&str>) -> Self {
        CertificateRequest {
            common_name: common_name.into(),
            organizations: organization.into_iter().map(str::to_owned).collect(),
            sans: Vec::new(),
            usage: Usage::Client,
            validity_days: Self::DEFAULT_DAYS,
        }
    }

    /// A server's certificate.
    #[must_use]
    pub fn server(common_name: impl Into<String>, sans: impl IntoIterator<Item = San>) -> Self {
        CertificateRequest {
            common_name: common_name.into(),
            organizations: Vec::new(),
            sans: sans.into_iter().collect(),
            usage: Usage::Server,
            validity_days: Self::DEFAULT_DAYS,
        }
    }

    /// A certificate good for both directions: an etcd peer.
    #[must_use]
    pub fn peer(common_name: impl Into<String>, sans: impl IntoIterator<Item = San>) -> Self {
        CertificateRequest {
            usage: Usage::Both,
            ..Self::server(common_name, sans)
        }
    }
}

/// A certificate and its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// X.509, PEM (`CERTIFICATE`).
    pub certificate_pem: String,
    /// PKCS #8, PEM (`PRIVATE KEY`).
    pub key_pem: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// A certificate authority: ECDSA P-256, valid for ten years.
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority with a new key.
    ///
    /// # Errors
    /// [`Error::Issue`] when the kernel gives no random numbers.
    pub fn new(common_name: impl Into<String>) -> Result<Self, Error> {
        let name = common_name.into();
        let fail = |source| Error::Issue {
            name: name.clone(),
            source,
        };
        let key = rcgen::KeyPair::generate().map_err(fail)?;
        let mut params = params(&name, None, AUTHORITY_DAYS);
        // A path length of 0: this CA signs leaves, not other CAs.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        // kubeadm names its CAs by a DNS name too; Go's verifier does not look at it.
        let certificate = params.self_signed(&key).map_err(fail)?;
        Ok(Authority {
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Takes up an authority made earlier.
    ///
    /// # Errors
    /// [`Error::AuthorityCertificate`], [`Error::AuthorityKey`], or [`Error::KeyMismatch`] when they do not belong
    /// together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let unreadable = |reason: String| Error::AuthorityCertificate { reason };
        let (_, block) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes())
            .map_err(|error| unreadable(format!("not PEM: {error}")))?;
        let (_, certificate) = X509Certificate::from_der(&block.contents)
            .map_err(|error| unreadable(format!("not an X.509 certificate: {error}")))?;
        if !certificate.is_ca() {
            return Err(unreadable("it is not the certificate of a CA".to_owned()));
        }
        let key =
            rcgen::KeyPair::from_pem(key_pem).map_err(|source| Error::AuthorityKey { source })?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(Error::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key)
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(Authority {
            certificate_pem: certificate_pem.to_owned(),
            issuer,
        })
    }

    /// The authority's own certificate, PEM: what others trust.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key, PKCS #8 PEM. Only for the controller manager, which signs certificate requests,
    /// and for [`Authority::from_pem`] later.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Makes a new key and a certificate for it.
    ///
    /// # Errors
    /// [`Error::San`] for a name that is not ASCII, [`Error::Organizations`] for more than one organization,
    /// [`Error::Issue`] when signing fails.
    pub fn issue(&self, request: &CertificateRequest) -> Result<KeyPair, Error> {
        let name = &request.common_name;
        let fail = |source| Error::Issue {
            name: name.clone(),
            source,
        };
        if request.organizations.len() > 1 {
            return Err(Error::Organizations {
                name: name.clone(),
                count: request.organizations.len(),
            });
        }
        let organization = request.organizations.first().map(String::as_str);
        let mut params = params(name, organization, i64::from(request.validity_days));
        // `ExplicitNoCa` and not `NoCa`: only then is a SubjectKeyIdentifier written.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = match request.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        params.subject_alt_names = request
            .sans
            .iter()
            .map(|san| match san {
                San::Ip(address) => Ok(SanType::IpAddress(*address)),
                San::Dns(dns) => {
                    dns.as_str()
                        .try_into()
                        .map(SanType::DnsName)
                        .map_err(|_| Error::San {
                            name: name.clone(),
                            san: dns.clone(),
                        })
                }
            })
            .collect::<Result<_, _>>()?;
        let key = rcgen::KeyPair::generate().map_err(fail)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(fail)?;
        Ok(KeyPair {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// Subject, validity and serial number: what an authority's and a leaf's certificate have in common.
fn params(common_name: &str, organization: Option<&str>, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organization) = organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, common_name);
    params.distinguished_name = subject;
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATE;
    params.not_after = now + Duration::days(days);
    params.serial_number = Some(serial());
    params
}

/// 159 random bits: RFC 5280 section 4.1.2.2 allows 20 octets of a positive number.
fn serial() -> SerialNumber {
    let mut bytes = [0; 20];
    OsRng.fill_bytes(&mut bytes);
    // The first bit is the sign; the second keeps the number from being zero or shorter.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}
