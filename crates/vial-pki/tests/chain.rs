//! The certificates as a TLS library sees them: rustls' verifier accepts the right use and refuses the wrong one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime, pem::PemObject};
use vial_pki::{Authority, CertificateRequest, Error, KeyPair, San, Usage};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

const DAY: u64 = 24 * 60 * 60;

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn days_from_now(days: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + days * DAY))
}

fn verify(
    authority: &Authority,
    leaf: &KeyPair,
    usage: KeyUsage,
    at: UnixTime,
) -> Result<(), webpki::Error> {
    let root = der(authority.certificate_pem());
    let anchor: TrustAnchor<'_> = anchor_from_trusted_cert(&root).unwrap();
    let leaf = der(&leaf.certificate_pem);
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &[anchor], &[], at, usage, None, None)
        .map(|_| ())
}

fn is_good_for(leaf: &KeyPair, name: &str) -> bool {
    let leaf = der(&leaf.certificate_pem);
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name.to_owned()).unwrap())
        .is_ok()
}

#[test]
fn a_client_is_accepted_as_a_client_only() {
    let ca = Authority::new("kubernetes").unwrap();
    let leaf = ca
        .issue(&CertificateRequest::client(
            "system:node:w-1",
            Some("system:nodes"),
        ))
        .unwrap();
    verify(&ca, &leaf, KeyUsage::client_auth(), UnixTime::now()).unwrap();
    assert!(verify(&ca, &leaf, KeyUsage::server_auth(), UnixTime::now()).is_err());
}

#[test]
fn a_server_is_accepted_as_a_server_only() {
    let ca = Authority::new("kubernetes").unwrap();
    let leaf = ca
        .issue(&CertificateRequest::server(
            "kube-apiserver",
            ["kubernetes".into()],
        ))
        .unwrap();
    verify(&ca, &leaf, KeyUsage::server_auth(), UnixTime::now()).unwrap();
    assert!(verify(&ca, &leaf, KeyUsage::client_auth(), UnixTime::now()).is_err());
}

#[test]
fn a_peer_is_accepted_as_both() {
    let ca = Authority::new("etcd").unwrap();
    let request = CertificateRequest::peer("cp-1", ["10.89.0.11".into()]);
    assert_eq!(request.usage, Usage::Both);
    let leaf = ca.issue(&request).unwrap();
    verify(&ca, &leaf, KeyUsage::server_auth(), UnixTime::now()).unwrap();
    verify(&ca, &leaf, KeyUsage::client_auth(), UnixTime::now()).unwrap();
}

#[test]
fn only_the_names_asked_for_are_valid() {
    let ca = Authority::new("kubernetes").unwrap();
    let sans: [San; 4] = [
        "kubernetes.default.svc".into(),
        "*.dev.vial".into(),
        "10.96.0.1".into(),
        "fd89::11".into(),
    ];
    assert_eq!(sans[2], San::Ip([10, 96, 0, 1].into()));
    let leaf = ca
        .issue(&CertificateRequest::server("kube-apiserver", sans))
        .unwrap();
    for name in [
        "kubernetes.default.svc",
        "w-1.dev.vial",
        "10.96.0.1",
        "fd89::11",
    ] {
        assert!(is_good_for(&leaf, name), "{name}");
    }
    for name in [
        "kube-apiserver",
        "kubernetes.default",
        "10.96.0.2",
        "fd89::12",
    ] {
        assert!(!is_good_for(&leaf, name), "{name}");
    }
}

#[test]
fn a_leaf_expires_when_asked_and_the_authority_after_ten_years() {
    let ca = Authority::new("kubernetes").unwrap();
    let year = CertificateRequest::client("admin", None);
    let decade = CertificateRequest {
        validity_days: 4000,
        ..year.clone()
    };
    let (year, decade) = (ca.issue(&year).unwrap(), ca.issue(&decade).unwrap());
    let check = |leaf, days| verify(&ca, leaf, KeyUsage::client_auth(), days_from_now(days));
    check(&year, 364).unwrap();
    assert!(matches!(
        check(&year, 366),
        Err(webpki::Error::CertExpired { .. })
    ));
    check(&decade, 3900).unwrap();
    assert!(matches!(
        check(&decade, 4001),
        Err(webpki::Error::CertExpired { .. })
    ));
}

#[test]
fn a_clock_that_is_five_minutes_slow_does_not_matter() {
    let ca = Authority::new("kubernetes").unwrap();
    let leaf = ca
        .issue(&CertificateRequest::client("admin", None))
        .unwrap();
    let slow = |seconds| {
        UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() - seconds))
    };
    verify(&ca, &leaf, KeyUsage::client_auth(), slow(300)).unwrap();
    let result = verify(&ca, &leaf, KeyUsage::client_auth(), slow(DAY));
    assert!(matches!(result, Err(webpki::Error::CertNotValidYet { .. })));
}

#[test]
fn another_authority_of_the_same_name_is_not_trusted() {
    let (ours, theirs) = (
        Authority::new("kubernetes").unwrap(),
        Authority::new("kubernetes").unwrap(),
    );
    let leaf = theirs
        .issue(&CertificateRequest::client("admin", Some("system:masters")))
        .unwrap();
    assert!(verify(&ours, &leaf, KeyUsage::client_auth(), UnixTime::now()).is_err());
}

#[test]
fn a_stored_authority_goes_on_where_it_stopped() {
    let before = Authority::new("kubernetes").unwrap();
    let after = Authority::from_pem(before.certificate_pem(), &before.key_pem()).unwrap();
    assert_eq!(after.certificate_pem(), before.certificate_pem());
    let leaf = after
        .issue(&CertificateRequest::client("admin", None))
        .unwrap();
    verify(&before, &leaf, KeyUsage::client_auth(), UnixTime::now()).unwrap();
}

#[test]
fn what_is_not_an_authority_is_refused() {
    let (one, two) = (
        Authority::new("one").unwrap(),
        Authority::new("two").unwrap(),
    );
    let leaf = one
        .issue(&CertificateRequest::client("admin", None))
        .unwrap();
    let load = |cert: &str, key: &str| Authority::from_pem(cert, key).unwrap_err();
    assert!(matches!(
        load(one.certificate_pem(), &two.key_pem()),
        Error::KeyMismatch
    ));
    assert!(matches!(
        load(one.certificate_pem(), "no key"),
        Error::AuthorityKey { .. }
    ));
    assert_eq!(
        load(&leaf.certificate_pem, &leaf.key_pem).to_string(),
        "cannot read the CA's certificate: it is not the certificate of a CA"
    );
    assert!(
        load("no certificate", &one.key_pem())
            .to_string()
            .contains("not PEM")
    );
}

#[test]
fn impossible_requests_name_what_is_wrong() {
    let ca = Authority::new("kubernetes").unwrap();
    let two = CertificateRequest {
        organizations: vec!["a".into(), "b".into()],
        ..CertificateRequest::client("admin", None)
    };
    assert!(matches!(
        ca.issue(&two),
        Err(Error::Organizations { count: 2, .. })
    ));
    let umlaut = CertificateRequest::server("s", ["knötchen".into()]);
    let message = ca.issue(&umlaut).unwrap_err().to_string();
    assert_eq!(
        message,
        r#"cannot put the name "knötchen" into the certificate of "s": it is not ASCII"#
    );
}

#[test]
fn extensions_and_serial_numbers_are_what_verifiers_expect() {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let ca = Authority::new("kubernetes").unwrap();
    let request = CertificateRequest::client("system:node:w-1", Some("system:nodes"));
    let leaves = [ca.issue(&request).unwrap(), ca.issue(&request).unwrap()]
        .map(|leaf| der(&leaf.certificate_pem));
    let root = der(ca.certificate_pem());
    let (_, root) = X509Certificate::from_der(&root).unwrap();
    let [(_, one), (_, two)] = [0, 1].map(|i| X509Certificate::from_der(&leaves[i]).unwrap());

    assert_eq!(
        one.subject().to_string(),
        "O=system:nodes, CN=system:node:w-1"
    );
    assert_eq!(one.issuer().to_string(), "CN=kubernetes");
    assert!(!one.is_ca() && root.is_ca());
    let has = |certificate: &X509Certificate<'_>, name: &str| {
        certificate
            .extensions()
            .iter()
            .any(|e| e.oid.to_id_string() == name)
    };
    assert!(has(&one, "2.5.29.14"), "SubjectKeyIdentifier of the leaf");
    assert!(has(&one, "2.5.29.35"), "AuthorityKeyIdentifier of the leaf");
    assert!(has(&root, "2.5.29.14"), "SubjectKeyIdentifier of the CA");
    let usage = one.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    assert!(root.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert_ne!(one.raw_serial(), two.raw_serial());
    assert_eq!(one.raw_serial().len(), 20);
    assert!(one.raw_serial()[0] < 0x80);
}

#[test]
fn debug_output_keeps_the_secrets() {
    let ca = Authority::new("kubernetes").unwrap();
    let leaf = ca
        .issue(&CertificateRequest::client("admin", None))
        .unwrap();
    assert!(!format!("{ca:?} {leaf:?}").contains("PRIVATE KEY"));
}
