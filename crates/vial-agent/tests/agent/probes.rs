//! Every kind of probe, against real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use vial_rpc::component_status::State;
use vial_rpc::probe::How;
use vial_rpc::{ComponentSpec, HttpProbe, Probe};

use crate::lab::Lab;

async fn apply(lab: &Lab, how: How) {
    let ready = Probe {
        how: Some(how),
        interval_ms: 1,
    };
    lab.apply(ComponentSpec {
        ready: Some(ready),
        ..lab.sh("x", "exec sleep 100000")
    })
    .await;
}

/// The component is seen to be not ready, with a message that has `part` in it.
async fn not_ready(lab: &Lab, part: &str) {
    let status = lab.until("x", |status| status.message.contains(part)).await;
    assert_eq!(status.state(), State::Starting);
}

#[tokio::test]
async fn a_file_appears() {
    let lab = Lab::new().await;
    apply(&lab, How::File(lab.path("file").to_str().unwrap().into())).await;
    not_ready(&lab, "/file does not exist").await;
    lab.touch("file");
    lab.wait_ready("x").await;
}

#[tokio::test]
async fn a_unix_socket_accepts() {
    let lab = Lab::new().await;
    let path = lab.path("x.sock");
    apply(&lab, How::UnixSocket(path.to_str().unwrap().into())).await;
    not_ready(&lab, "/x.sock: No such file").await;
    let _listener = UnixListener::bind(path).unwrap();
    lab.wait_ready("x").await;
}

#[tokio::test]
async fn a_port_accepts() {
    let lab = Lab::new().await;
    // Bound but not listening: connections are refused, and nobody else takes the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    apply(&lab, How::Tcp(socket.local_addr().unwrap().to_string())).await;
    not_ready(&lab, "refused").await;
    let _listener = socket.listen(16).unwrap();
    lab.wait_ready("x").await;
}

/// Answers every request on a connection with `status`, once it has seen the whole head.
async fn answer(mut connection: impl AsyncRead + AsyncWrite + Unpin, status: u16) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    assert!(head.starts_with(b"GET /readyz?verbose HTTP/1.1\r\nHost: 127.0.0.1:"));
    let _ = connection
        .write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .await;
    let _ = connection.shutdown().await;
}

#[tokio::test]
async fn an_http_server_says_yes() {
    let lab = Lab::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/readyz?verbose", listener.local_addr().unwrap());
    let status = Arc::new(AtomicU16::new(503));
    let says = status.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            answer(connection, says.load(Ordering::SeqCst)).await;
        }
    });
    apply(
        &lab,
        How::Http(HttpProbe {
            url,
            ..Default::default()
        }),
    )
    .await;
    not_ready(&lab, "answers 503").await;
    status.store(204, Ordering::SeqCst);
    lab.wait_ready("x").await;
}

/// An authority with a server's and a client's certificate, as files and as what a server needs.
struct Pki {
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            ca: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.ca).unwrap(), key)
    }

    /// Demands a client certificate of this authority.
    fn acceptor(&self) -> TlsAcceptor {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/readyz?verbose", listener.local_addr().unwrap());
        let acceptor = self.acceptor();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(connection) = acceptor.accept(connection).await {
                        answer(connection, 200).await;
                    }
                });
            }
        });
        url
    }

    /// The probe, with the authority's certificate and, when asked for, a client's in files of the lab.
    fn probe(&self, lab: &Lab, url: &str, client: bool) -> HttpProbe {
        let file = |name: &str, content: String| {
            std::fs::write(lab.path(name), content).unwrap();
            lab.path(name).to_str().unwrap().to_string()
        };
        let mut probe = HttpProbe {
            url: url.into(),
            ca_file: file("ca.pem", self.ca.pem()),
            ..Default::default()
        };
        if client {
            let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ClientAuth);
            probe.cert_file = file("client.pem", certificate.pem());
            probe.key_file = file("client.key", key.serialize_pem());
        }
        probe
    }
}

#[tokio::test]
async fn an_https_server_wants_a_client_certificate() {
    let lab = Lab::new().await;
    let pki = Pki::new();
    let url = pki.serve().await;
    apply(&lab, How::Http(pki.probe(&lab, &url, true))).await;
    lab.wait_ready("x").await;
}

#[tokio::test]
async fn an_https_server_refuses_without_a_client_certificate() {
    let lab = Lab::new().await;
    let pki = Pki::new();
    let url = pki.serve().await;
    apply(&lab, How::Http(pki.probe(&lab, &url, false))).await;
    not_ready(&lab, "CertificateRequired").await;
}

#[tokio::test]
async fn an_https_server_of_another_authority_is_not_believed() {
    let lab = Lab::new().await;
    let url = Pki::new().serve().await;
    apply(&lab, How::Http(Pki::new().probe(&lab, &url, true))).await;
    not_ready(&lab, "invalid peer certificate").await;
}

#[tokio::test]
async fn certificates_may_come_later() {
    let lab = Lab::new().await;
    let pki = Pki::new();
    let url = pki.serve().await;
    let probe = pki.probe(&lab, &url, true);
    std::fs::rename(lab.path("ca.pem"), lab.path("ca.pem.later")).unwrap();
    apply(&lab, How::Http(probe)).await;
    not_ready(&lab, "cannot read").await;
    std::fs::rename(lab.path("ca.pem.later"), lab.path("ca.pem")).unwrap();
    lab.wait_ready("x").await;
}
