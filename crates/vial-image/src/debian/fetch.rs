//! Downloads that are verified before they get their name, and a cache of them.
//!
//! ```text
//!   absent ──download──► NAME.part ──size and SHA256 match──► NAME ──verified at each use──► path
//!     ▲                    │  ▲  └─────they do not: removed, error────┐
//!     └────────────────────┼──┼─────────────────────────────────────◄─┘
//!              killed: kept│  │resumed with a range request
//!                          └──┘
//! ```
//!
//! # Invariants
//! A file under its final name was verified when it got it, and is verified again whenever it is used; one that no longer
//! matches is fetched again. One process at a time works in a cache (a lock file says who).

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use reqwest::{Client, StatusCode, header};
use sha2::{Digest, Sha256};

use super::error::DebianError;

/// Attempts at one download when the transport fails; each resumes where the last one broke off.
const ATTEMPTS: u32 = 4;
/// InRelease files are some 200 kB; what is longer than this is not one.
const MAX_SIGNED: usize = 16 << 20;

/// What a file must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Bytes.
    pub(crate) size: u64,
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
}

/// An HTTP client with a cache directory.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client,
    cache: PathBuf,
    /// Held as long as the fetcher lives.
    _lock: File,
}

impl Fetcher {
    /// Opens the cache, making it when it is missing; waits while another process works in it.
    pub(crate) async fn open(cache: &Path) -> Result<Self, DebianError> {
        crate::install_crypto();
        let client = Client::builder()
            .user_agent(concat!("vial/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(Duration::from_secs(60))
            .build()
            .map_err(|source| DebianError::Download {
                url: "anything: no HTTP client".to_owned(),
                source,
            })?;
        let cache = cache.to_path_buf();
        tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&cache).map_err(DebianError::io("create the cache", &cache))?;
            let path = cache.join(".lock");
            let lock = File::create(&path).map_err(DebianError::io("create", &path))?;
            lock.lock().map_err(DebianError::io("lock", &path))?;
            Ok(Self {
                client,
                cache,
                _lock: lock,
            })
        })
        .await
        .map_err(|error| DebianError::io("open the cache", "")(error.into()))?
    }

    /// A small file that carries its own signature: not cached, returned as it came.
    pub(crate) async fn get(&self, url: &str) -> Result<Vec<u8>, DebianError> {
        let mut attempt = 1;
        loop {
            match self.get_once(url).await {
                Err(DebianError::Download { source, .. }) if attempt < ATTEMPTS => {
                    tracing::debug!(url, attempt, error = %source, "download broke off");
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn get_once(&self, url: &str) -> Result<Vec<u8>, DebianError> {
        let failed = |source| DebianError::Download {
            url: url.to_owned(),
            source,
        };
        let response = self.client.get(url).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(DebianError::Status {
                url: url.to_owned(),
                status: response.status().as_u16(),
            });
        }
        let mut bytes = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(failed)?);
            if bytes.len() > MAX_SIGNED {
                return Err(DebianError::malformed(
                    url,
                    "it is far longer than such a file can be",
                ));
            }
        }
        Ok(bytes)
    }

    /// The verified file `name` of the cache, downloaded from `url` unless it is there; `on_bytes` hears of each piece.
    pub(crate) async fn file(
        &self,
        url: &str,
        name: &str,
        expected: &Expected,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<PathBuf, DebianError> {
        let path = self.cache.join(name);
        if path.exists() {
            match verify_apart(&path, expected).await {
                Ok(()) => {
                    on_bytes(expected.size);
                    return Ok(path);
                }
                Err(error @ DebianError::Mismatch { .. }) => {
                    tracing::warn!(%error, "fetching a damaged file of the cache again")
                }
                Err(error) => return Err(error),
            }
        }
        let part = self.cache.join(format!("{name}.part"));
        let mut attempt = 1;
        loop {
            let resumed = std::fs::metadata(&part).map_or(0, |meta| meta.len()) > 0;
            match self.download(url, &part, expected.size, on_bytes).await {
                Ok(()) => {}
                Err(DebianError::Download { source, .. }) if attempt < ATTEMPTS => {
                    tracing::debug!(url, attempt, error = %source, "download broke off");
                    attempt += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            match verify_apart(&part, expected).await {
                Ok(()) => break,
                Err(error) => {
                    std::fs::remove_file(&part).map_err(DebianError::io("remove", &part))?;
                    // The first half may be of another version of the file: a fresh start decides.
                    if resumed && attempt < ATTEMPTS {
                        attempt += 1;
                        continue;
                    }
                    return Err(match error {
                        DebianError::Mismatch {
                            what,
                            expected,
                            actual,
                            ..
                        } => DebianError::Mismatch {
                            file: url.to_owned(),
                            what,
                            expected,
                            actual,
                        },
                        other => other,
                    });
                }
            }
        }
        std::fs::rename(&part, &path).map_err(DebianError::io("rename", &part))?;
        Ok(path)
    }

    /// Brings `part` to `size` bytes or to the end of the body, whatever comes first.
    async fn download(
        &self,
        url: &str,
        part: &Path,
        size: u64,
        on_bytes: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), DebianError> {
        let failed = |source| DebianError::Download {
            url: url.to_owned(),
            source,
        };
        let io = |operation| DebianError::io(operation, part);
        let mut have = std::fs::metadata(part).map_or(0, |meta| meta.len());
        if have >= size {
            // Complete but not renamed (killed between the two), or of something else: verifying tells.
            if have == size && size > 0 {
                return Ok(());
            }
            have = 0;
        }
        let mut request = self.client.get(url);
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let response = request.send().await.map_err(failed)?;
        let mut file = match response.status() {
            StatusCode::PARTIAL_CONTENT if have > 0 => {
                on_bytes(have);
                File::options()
                    .append(true)
                    .open(part)
                    .map_err(io("open"))?
            }
            status if status.is_success() => {
                have = 0;
                File::create(part).map_err(io("create"))?
            }
            status => {
                return Err(DebianError::Status {
                    url: url.to_owned(),
                    status: status.as_u16(),
                });
            }
        };
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(failed)?;
            have += chunk.len() as u64;
            file.write_all(&chunk).map_err(io("write"))?;
            on_bytes(chunk.len() as u64);
            if have > size {
                break;
            }
        }
        Ok(())
    }
}

async fn verify_apart(path: &Path, expected: &Expected) -> Result<(), DebianError> {
    let (path, expected) = (path.to_path_buf(), expected.clone());
    tokio::task::spawn_blocking(move || verify(&path, &expected))
        .await
        .map_err(|error| DebianError::io("verify", "")(error.into()))?
}

/// Checks a file's size and SHA256.
pub(crate) fn verify(path: &Path, expected: &Expected) -> Result<(), DebianError> {
    let io = |operation| DebianError::io(operation, path);
    let mismatch = |what, expected, actual| DebianError::Mismatch {
        file: path.display().to_string(),
        what,
        expected,
        actual,
    };
    let mut file = File::open(path).map_err(io("open"))?;
    let size = file.metadata().map_err(io("read"))?.len();
    if size != expected.size {
        return Err(mismatch(
            "size",
            expected.size.to_string(),
            size.to_string(),
        ));
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer).map_err(io("read"))? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let actual = hex(&hash.finalize());
    if actual != expected.sha256 {
        return Err(mismatch("SHA256", expected.sha256.clone(), actual));
    }
    Ok(())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
