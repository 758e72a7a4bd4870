//! A registry of the world that gives to everybody what was published, by HTTPS, and remembers who asked for what.
//!
//! It is as demanding as those of the internet: a token first, which has to be fetched; blobs are elsewhere, at another
//! name, where a token has no business.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{NAME, REGISTRY, World};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The registry; it ends with the world.
pub(crate) struct PublicRegistry {
    listener: TcpListener,
    shared: Arc<Shared>,
    dir: tempfile::TempDir,
}

#[derive(Default)]
struct Shared {
    /// By path.
    content: Mutex<HashMap<String, Content>>,
    /// `GET /v2/team/app/blobs/sha256:…`
    asked: Mutex<Vec<String>>,
}

/// Media type (of blobs none), digest, bytes.
type Content = (&'static str, String, Vec<u8>);

impl PublicRegistry {
    /// At [`REGISTRY`], and [`NAME`].
    pub(crate) fn start(world: &mut World) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = authority.self_signed(&key).expect("signed");
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("written");
        let issuer = Issuer::new(authority, key);
        let key = KeyPair::generate().expect("a key");
        let names = [REGISTRY, NAME].map(ToOwned::to_owned);
        let own = CertificateParams::new(names).expect("names");
        let own = own.signed_by(&key, &issuer).expect("signed");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key.into());
        let tls = Arc::new(tls.expect("a certificate and its key"));
        let listener = world.listen(443);
        let shared = Arc::<Shared>::default();
        let (accepting, sharing) = (listener.try_clone().expect("a descriptor"), shared.clone());
        std::thread::spawn(move || {
            while let Ok((client, _)) = accepting.accept() {
                let (tls, shared) = (tls.clone(), sharing.clone());
                // A client that goes away is its own business.
                std::thread::spawn(move || drop(shared.serve(client, tls)));
            }
        });
        Self {
            listener,
            shared,
            dir,
        }
    }

    /// Whom to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// An image of an archive of `docker save` or `ctr images export`, with one layer more: the file /word.
    pub(crate) fn publish(&self, name: &str, tag: &str, archive: &str, word: &str) {
        let base = self.dir.path().join("base");
        let file = std::fs::File::open(archive).expect("an archive");
        tar::Archive::new(file).unpack(&base).expect("unpacked");
        let read = |path: &str| std::fs::read(base.join(path)).expect("a part of the archive");
        let parse = |path: &str| -> Value { serde_json::from_slice(&read(path)).expect("JSON") };
        let described = &parse("manifest.json")[0];
        let mut config = parse(described["Config"].as_str().expect("a path"));
        let mut layers = Vec::new();
        for layer in described["Layers"].as_array().expect("layers") {
            layers.push(self.blob(name, layer_kind, read(layer.as_str().expect("a path"))));
        }
        let layer = layer_with(word);
        let id = format!("sha256:{}", hex(&layer));
        layers.push(self.blob(name, layer_kind, layer));
        let ids = config["rootfs"]["diff_ids"].as_array_mut().expect("ids");
        ids.push(id.into());
        config["config"]["Cmd"] = json!(["sleep", "infinity"]);
        // As many as layers, or none.
        config.as_object_mut().expect("an object").remove("history");
        let config = config.to_string().into_bytes();
        let config = self.blob(name, |_| "application/vnd.oci.image.config.v1+json", config);
        let manifest =
            json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let manifest = manifest.to_string().into_bytes();
        let digest = format!("sha256:{}", hex(&manifest));
        for reference in [tag, &digest] {
            let path = format!("/v2/{name}/manifests/{reference}");
            self.put(path, MANIFEST, manifest.clone());
        }
    }

    /// Puts a blob and describes it.
    fn blob(&self, name: &str, kind: fn(&[u8]) -> &'static str, bytes: Vec<u8>) -> Value {
        let digest = format!("sha256:{}", hex(&bytes));
        let described = json!({"mediaType": kind(&bytes), "digest": digest, "size": bytes.len()});
        self.put(format!("/v2/{name}/blobs/{digest}"), "", bytes);
        described
    }

    fn put(&self, path: String, kind: &'static str, bytes: Vec<u8>) {
        let digest = format!("sha256:{}", hex(&bytes));
        let mut content = self.shared.content.lock().expect("no panic");
        content.insert(path, (kind, digest, bytes));
    }

    /// What was asked for that begins so and has this in it, but for tokens and what was sent without one.
    pub(crate) fn asked(&self, begin: &str, part: &str) -> Vec<String> {
        let asked = self.shared.asked.lock().expect("no panic");
        let meant = |line: &&String| line.starts_with(begin) && line.contains(part);
        asked.iter().filter(meant).cloned().collect()
    }

    /// Nobody has asked for anything.
    pub(crate) fn forget(&self) {
        self.shared.asked.lock().expect("no panic").clear();
    }

    /// Nobody listens there any more.
    pub(crate) fn stop(&self) {
        rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both).expect("it listens");
    }
}

impl Shared {
    fn serve(&self, client: TcpStream, tls: Arc<ServerConfig>) -> std::io::Result<()> {
        client.set_read_timeout(Some(Duration::from_secs(10)))?;
        let tls = ServerConnection::new(tls).map_err(std::io::Error::other)?;
        let mut client = StreamOwned::new(tls, client);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let answer = self.answer(&String::from_utf8_lossy(&head).to_lowercase());
        client.write_all(&answer)?;
        client.conn.send_close_notify();
        client.flush()?;
        client.sock.shutdown(Shutdown::Write)
    }

    /// To a request in small letters.
    fn answer(&self, head: &str) -> Vec<u8> {
        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let authorized = head.contains("\r\nauthorization: bearer for-everybody\r\n");
        if path.starts_with("/token?") {
            let body = b"{\"token\": \"for-everybody\"}";
            return reply(method, "200 OK", "", body);
        }
        let (status, headers, body) = if let Some(place) = path.strip_prefix("/elsewhere") {
            self.tell(method, path);
            match self.get(place) {
                // Who shows the token here shows it to somebody whom it is not meant for.
                Some(_) if authorized || !head.contains(NAME) => Default::default(),
                Some((_, _, body)) => ("200 OK", String::new(), body),
                None => Default::default(),
            }
        } else if !authorized {
            let place = format!("https://{REGISTRY}/token");
            let challenge =
                format!("WWW-Authenticate: Bearer realm=\"{place}\",service=\"test\"\r\n");
            ("401 Unauthorized", challenge, Vec::new())
        } else {
            self.tell(method, path);
            match self.get(path) {
                Some(("", ..)) => {
                    let place = format!("Location: https://{NAME}/elsewhere{path}\r\n");
                    ("307 Temporary Redirect", place, Vec::new())
                }
                Some((kind, digest, body)) => {
                    let said =
                        format!("Content-Type: {kind}\r\nDocker-Content-Digest: {digest}\r\n");
                    ("200 OK", said, body)
                }
                None => Default::default(),
            }
        };
        let status = if status.is_empty() {
            "404 Not Found"
        } else {
            status
        };
        reply(method, status, &headers, &body)
    }

    fn get(&self, path: &str) -> Option<Content> {
        self.content.lock().expect("no panic").get(path).cloned()
    }

    fn tell(&self, method: &str, path: &str) {
        let line = format!("{} {path}", method.to_uppercase());
        self.asked.lock().expect("no panic").push(line);
    }
}

fn reply(method: &str, status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let body = if method == "head" { &[] } else { body };
    [head.as_bytes(), body].concat()
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// By its first bytes.
fn layer_kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x1f, 0x8b, ..] => "application/vnd.oci.image.layer.v1.tar+gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "application/vnd.oci.image.layer.v1.tar+zstd",
        _ => "application/vnd.oci.image.layer.v1.tar",
    }
}

/// A layer with the file /word.
fn layer_with(word: &str) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(word.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let added = layer.append_data(&mut header, Path::new("word"), word.as_bytes());
    added.expect("in memory");
    layer.into_inner().expect("in memory")
}
