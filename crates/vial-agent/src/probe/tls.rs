//! The TLS of a probe: trusts one authority, may show a client certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::{ClientConfig, RootCertStore, crypto};
use vial_rpc::HttpProbe;

use super::ProbeError;

/// Reads the probe's files. The server must be signed by `ca_file` and carry the probed address.
pub(super) fn client_config(probe: &HttpProbe) -> Result<ClientConfig, ProbeError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(Path::new(&probe.ca_file))? {
        roots
            .add(certificate)
            .map_err(|source| ProbeError::Tls { source })?;
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder
        .map_err(|source| ProbeError::Tls { source })?
        .with_root_certificates(roots);
    let mut config = if probe.cert_file.is_empty() {
        builder.with_no_client_auth()
    } else {
        let path = Path::new(&probe.key_file);
        let key = PrivateKeyDer::from_pem_file(path)
            .map_err(|error| pem_error("private key", path, error))?;
        let chain = certificates(Path::new(&probe.cert_file))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|source| ProbeError::Tls { source })?
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ProbeError> {
    let what = "certificate";
    let read = CertificateDer::pem_file_iter(path).map_err(|error| pem_error(what, path, error))?;
    let found: Vec<_> = read
        .collect::<Result<_, _>>()
        .map_err(|error| pem_error(what, path, error))?;
    if found.is_empty() {
        Err(ProbeError::Pem {
            what,
            path: path.to_path_buf(),
        })
    } else {
        Ok(found)
    }
}

fn pem_error(what: &'static str, path: &Path, error: pem::Error) -> ProbeError {
    let path = path.to_path_buf();
    match error {
        pem::Error::Io(source) => ProbeError::File { path, source },
        _ => ProbeError::Pem { what, path },
    }
}
