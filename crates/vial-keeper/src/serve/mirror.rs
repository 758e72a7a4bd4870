//! Public registries, as nodes see them: what one cluster of the machine has pulled, no other pulls again.
//!
//! ```text
//! containerd ─► 10.89.0.1:5001 ─┬─ in the cache ─────────────────────────────► answer
//!                               └─ not there ─► the registry, by HTTPS ─┬────► answer
//!                                                                       └────► cache, once its digest is verified
//! ```
//! What a tag is, the registry is asked each time: by a HEAD, which takes nothing from anybody's allowance. Only where it
//! cannot be asked, or will not say, the tag is what it was. Whatever cannot be had here is "not found": containerd then
//! goes to the registry itself, with the credentials of the pod, which never come here.

mod address;
mod cache;
mod challenge;
mod request;
mod server;
mod upstream;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{Method, header};
use reqwest::Response;
use serde::Deserialize;
use tokio::sync::{OwnedMutexGuard, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use vial_engine::plan::{MIRROR_PORT, gateways};
use vial_image::Digest;
use vial_sandbox::{Network, Sandbox};
use vial_spec::ClusterSpec;

use crate::failure::chain;
use cache::Cache;
use request::{Object, Repository, Wanted};
use upstream::{Failure, Upstream, read};

/// How many bytes of public images are kept on the machine.
pub const REGISTRY_CACHE_BOUND: u64 = 10_000_000_000;
/// A manifest (distribution specification 1.1, "Pushing Manifests": registries take at least 4 MiB).
const LARGEST_MANIFEST: u32 = 4 * 1024 * 1024;
/// How long to wait for a blob that is being pulled for somebody else: less than the kubelet waits for a byte.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves until the task is dropped.
pub(super) async fn serve(
    sandbox: Arc<dyn Sandbox>,
    cache: PathBuf,
    wanted: watch::Receiver<Arc<ClusterSpec>>,
) {
    let family = wanted.borrow().network.ip_family;
    let mirror = Arc::new(Mirror {
        wanted,
        cache: Cache::new(cache, REGISTRY_CACHE_BOUND),
        upstream: Upstream::default(),
        pulled: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    for gateway in gateways(family) {
        let address = (gateway, MIRROR_PORT).into();
        match sandbox.listen(Network::Management, address).await {
            Ok(listener) => {
                tasks.spawn(server::serve(listener, Arc::clone(&mirror)));
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), %address, "no mirror of registries");
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Answers for all public registries.
struct Mirror {
    wanted: watch::Receiver<Arc<ClusterSpec>>,
    cache: Cache,
    upstream: Upstream,
    /// Held by whoever pulls that digest.
    pulled: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

/// What is given to containerd.
struct Found {
    digest: Digest,
    kind: String,
    size: Option<u64>,
    body: Body,
}

/// A manifest, as it came.
struct Manifest {
    digest: Digest,
    kind: String,
    bytes: Vec<u8>,
}

impl Mirror {
    /// What was asked for; of a HEAD the body is not read.
    async fn find(self: &Arc<Self>, method: &Method, wanted: &Wanted) -> Result<Found, Failure> {
        let repository = &wanted.repository;
        let manifest = match &wanted.object {
            Object::Tag(tag) => self.tagged(repository, tag).await?,
            Object::Manifest(digest) => self.manifest(repository, digest).await?,
            Object::Blob(digest) => return self.blob(method, repository, digest).await,
        };
        Ok(Found {
            digest: manifest.digest,
            kind: manifest.kind,
            size: Some(manifest.bytes.len() as u64),
            body: manifest.bytes.into(),
        })
    }

    /// What the tag is now, or was when it was last asked.
    async fn tagged(&self, repository: &Repository, tag: &str) -> Result<Manifest, Failure> {
        let asked = self
            .upstream
            .ask(Method::HEAD, repository, "manifests", tag);
        let manifest = match asked.await {
            Ok(answer) => match digest(&answer) {
                Some(digest) => self.manifest(repository, &digest).await?,
                None => self.pull_manifest(repository, tag).await?,
            },
            Err(Failure::Refused { url, status }) => return Err(Failure::Refused { url, status }),
            Err(unreachable) => {
                let known = self.cache.tag(repository, tag);
                let known = known.and_then(|digest| self.kept_manifest(&digest));
                return known.ok_or(unreachable);
            }
        };
        if let Err(error) = self.cache.set_tag(repository, tag, &manifest.digest) {
            tracing::warn!(%error, tag, "cannot keep what a tag is");
        }
        Ok(manifest)
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Manifest, Failure> {
        if let Some(kept) = self.kept_manifest(digest) {
            return Ok(kept);
        }
        let pulled = self.pull_manifest(repository, digest.as_str()).await?;
        if pulled.digest == *digest {
            return Ok(pulled);
        }
        let url = repository.url("manifests", digest.as_str());
        let other = format!("it gave {} instead", pulled.digest);
        Err(Failure::unreachable(&url, other))
    }

    fn kept_manifest(&self, digest: &Digest) -> Option<Manifest> {
        let bytes = self.cache.read(digest, LARGEST_MANIFEST.into())?;
        Manifest::read(bytes)
    }

    async fn pull_manifest(
        &self,
        repository: &Repository,
        reference: &str,
    ) -> Result<Manifest, Failure> {
        let url = repository.url("manifests", reference);
        let asked = self
            .upstream
            .ask(Method::GET, repository, "manifests", reference);
        let body = read(&mut asked.await?, LARGEST_MANIFEST as usize).await;
        let body = body.map_err(|error| Failure::unreachable(&url, error))?;
        let manifest = Manifest::read(body);
        let manifest = manifest
            .ok_or_else(|| Failure::unreachable(&url, "it gave no manifest that is known"))?;
        let mut incoming = self.cache.begin();
        incoming.write(&manifest.bytes);
        let kept = incoming.finish(&manifest.digest);
        kept.map_err(|error| Failure::unreachable(&url, error))?;
        Ok(manifest)
    }

    async fn blob(
        self: &Arc<Self>,
        method: &Method,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Found, Failure> {
        let found = |size, body| Found {
            digest: digest.clone(),
            kind: "application/octet-stream".into(),
            size,
            body,
        };
        if let Some((file, size)) = self.cache.find(digest) {
            return Ok(found(Some(size), stream(file)));
        }
        if method == Method::HEAD {
            let answer = self
                .upstream
                .ask(Method::HEAD, repository, "blobs", digest.as_str());
            return Ok(found(length(&answer.await?), Body::empty()));
        }
        let pulling = self.begin(digest).await;
        // Whoever pulled it meanwhile has left it there.
        if let Some((file, size)) = self.cache.find(digest) {
            return Ok(found(Some(size), stream(file)));
        }
        let answer = self
            .upstream
            .ask(Method::GET, repository, "blobs", digest.as_str());
        let answer = answer.await?;
        let size = length(&answer);
        let (sender, receiver) = mpsc::channel(16);
        let (mirror, digest) = (Arc::clone(self), digest.clone());
        tokio::spawn(async move {
            let _held = pulling;
            if let Err(error) = mirror.pass(answer, &digest, &sender).await {
                tracing::warn!(error = %chain(error.as_ref()), %digest, "cannot pull a blob");
                // The connection is cut, so that nobody takes it for whole.
                let _ = sender.send(Err(io::Error::other(error))).await;
            }
        });
        Ok(found(
            size,
            Body::from_stream(ReceiverStream::new(receiver)),
        ))
    }

    /// Waits while somebody else pulls it, but not for ever: who pulls may have a slow client.
    async fn begin(&self, digest: &Digest) -> Option<OwnedMutexGuard<()>> {
        let lock = {
            let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
            pulled.retain(|_, lock| lock.strong_count() > 0);
            let known = pulled.get(digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                pulled.insert(digest.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        tokio::time::timeout(PATIENCE, lock.lock_owned()).await.ok()
    }

    /// Passes a blob on while it comes, its last part when all of it is verified and kept. Ends when nobody listens.
    async fn pass(
        &self,
        mut answer: Response,
        digest: &Digest,
        client: &mpsc::Sender<io::Result<Bytes>>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut incoming = self.cache.begin();
        let mut last: Option<Bytes> = None;
        while let Some(part) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
            // Into the page cache: no more than what is copied on the way anyway.
            incoming.write(&part);
            if let Some(before) = last.replace(part)
                && client.send(Ok(before)).await.is_err()
            {
                return Ok(());
            }
        }
        incoming.finish(digest)?;
        if let Some(last) = last {
            let _ = client.send(Ok(last)).await;
        }
        Ok(())
    }
}

impl Manifest {
    /// `None` for what is no manifest, or one of a kind from before 2016, the digest of which is not that of its bytes.
    fn read(bytes: Vec<u8>) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            schema_version: u32,
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = serde_json::from_slice(&bytes).ok()?;
        // Only images of OCI may leave out what they are (image specification 1.1, `mediaType`).
        let kind = shape.media_type.unwrap_or_else(|| {
            let index = shape.manifests.is_some();
            let kind = if index { "index" } else { "manifest" };
            format!("application/vnd.oci.image.{kind}.v1+json")
        });
        (shape.schema_version == 2).then(|| Self {
            digest: Digest::of(&bytes),
            kind,
            bytes,
        })
    }
}

fn stream(file: File) -> Body {
    let file = tokio::fs::File::from_std(file);
    Body::from_stream(tokio_util::io::ReaderStream::with_capacity(
        file,
        256 * 1024,
    ))
}

/// What the registry says it gives.
fn digest(answer: &Response) -> Option<Digest> {
    let digest = answer.headers().get("docker-content-digest")?;
    digest.to_str().ok()?.parse().ok()
}

fn length(answer: &Response) -> Option<u64> {
    let length = answer.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_says_what_it_is() {
        let kind = |text: &str| Manifest::read(text.into()).map(|manifest| manifest.kind);
        let oci = "application/vnd.oci.image";
        assert_eq!(
            kind(r#"{"schemaVersion":2,"mediaType":"a/b"}"#).as_deref(),
            Some("a/b")
        );
        assert_eq!(
            kind(r#"{"schemaVersion":2,"manifests":[]}"#),
            Some(format!("{oci}.index.v1+json"))
        );
        assert_eq!(
            kind(r#"{"schemaVersion":2,"layers":[]}"#),
            Some(format!("{oci}.manifest.v1+json"))
        );
        assert_eq!(kind(r#"{"schemaVersion":1,"signatures":[]}"#), None);
        assert_eq!(kind("a layer"), None);
    }
}
