//! A public registry, asked as anybody may ask it.
//!
//! ```text
//! GET ──► 200 ─────────────────────────────────────► answer
//!   │ └─► 401, with the place of a token ──► GET token, anonymously ──► GET with it ──► answer
//!   └───► 3xx: the place of a blob, asked without the token
//! ```
//! A cluster decides which registry is asked, so this process, which stands on the host, asks for it only what is
//! public: by HTTPS, names only, and no name that leads to the host or to its neighbours ([`super::address`]), whoever
//! says it: `ns`, a redirection or the place of a token. Nothing of the host is sent: no credentials, no proxy's either.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use http::header::{ACCEPT, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use tokio::sync::OnceCell;
use vial_sandbox::Uplinks;

use super::address;
use super::challenge::Challenge;
use super::request::Repository;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(5);
/// Without a byte.
const SILENCE: Duration = Duration::from_secs(30);
/// For an answer without a body that matters.
const ANSWER: Duration = Duration::from_secs(15);
/// For a name.
const LOOK_UP: Duration = Duration::from_secs(2);
/// Redirections in a row.
const REDIRECTS: usize = 5;
/// Of a token's answer, in bytes.
const LARGEST_TOKEN: usize = 64 * 1024;
/// Repositories whose tokens are remembered.
const TOKENS: usize = 256;
/// What a manifest may be (image specification 1.1, and Docker's of the same).
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Why a registry gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It says so: there is nothing, or not for everybody.
    #[error("{url}: {status}")]
    Refused {
        /// What was asked for.
        url: String,
        /// What it answered.
        status: StatusCode,
    },
    /// It did not get to say anything of use.
    #[error("cannot ask {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Failure {
    /// Something else than an answer of use.
    pub(super) fn unreachable(
        url: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let (url, source) = (url.to_owned(), source.into());
        Self::Unreachable { url, source }
    }
}

/// All public registries.
#[derive(Default)]
pub(super) struct Upstream {
    client: OnceCell<Client>,
    /// Those that were given last, for everybody who asks.
    tokens: Mutex<HashMap<Repository, HeaderValue>>,
}

impl Upstream {
    /// Asks a repository for `manifests/1.29`, `blobs/sha256:…`.
    pub(super) async fn ask(
        &self,
        method: Method,
        repository: &Repository,
        kind: &str,
        reference: &str,
    ) -> Result<Response, Failure> {
        let url = repository.url(kind, reference);
        if Uplinks::now() == Uplinks::default() {
            return Err(Failure::unreachable(&url, "the host has no network"));
        }
        let client = self.client(&url).await?;
        let ask = |token: Option<HeaderValue>| {
            let mut request = client.request(method.clone(), &url);
            if method == Method::HEAD {
                request = request.timeout(ANSWER);
            }
            if kind == "manifests" {
                request = request.header(ACCEPT, MANIFESTS);
            }
            if let Some(token) = token {
                request = request.header(http::header::AUTHORIZATION, token);
            }
            request.send()
        };
        let failed = |error: reqwest::Error| Failure::unreachable(&url, error.without_url());
        let mut answer = ask(self.token(repository)).await.map_err(failed)?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(challenge) = challenge(&answer)
        {
            let token = token(client, &challenge, repository).await?;
            self.remember(repository, token.clone());
            answer = ask(Some(token)).await.map_err(failed)?;
        }
        let status = answer.status();
        match status {
            _ if status.is_success() => Ok(answer),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(Failure::unreachable(&url, status.to_string()))
            }
            _ if status.is_client_error() => Err(Failure::Refused { url, status }),
            _ => Err(Failure::unreachable(&url, status.to_string())),
        }
    }

    /// Made when it is first needed: it reads the certificates that the machine trusts.
    async fn client(&self, url: &str) -> Result<&Client, Failure> {
        let made = self.client.get_or_try_init(|| async { client() }).await;
        made.map_err(|error| Failure::unreachable(url, error))
    }

    fn token(&self, repository: &Repository) -> Option<HeaderValue> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(repository).cloned()
    }

    fn remember(&self, repository: &Repository, token: HeaderValue) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS {
            tokens.clear();
        }
        tokens.insert(repository.clone(), token);
    }
}

fn client() -> reqwest::Result<Client> {
    // The first crate to ask decides; it is the same provider everywhere.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .https_only(true)
        .no_proxy()
        .redirect(Policy::custom(follow))
        .dns_resolver(Arc::new(Public))
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .user_agent(concat!("vial/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// reqwest takes the token away where another host comes next.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS {
        attempt.error("too many redirections")
    } else if !has_name(attempt.url()) {
        attempt.error("a redirection to an address")
    } else {
        attempt.follow()
    }
}

/// An address in a URL would not be looked up, and so not be looked at.
fn has_name(url: &Url) -> bool {
    url.scheme() == "https" && url.domain().is_some()
}

/// Looks names up as the host does, and finds addresses of the internet only.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Made anew each time: the host's resolvers come and go with its network.
            let mut builder = TokioResolver::builder_tokio()?;
            builder.options_mut().timeout = LOOK_UP;
            let found = builder.build()?.lookup_ip(name.as_str()).await?;
            let public = found.iter().filter(|found| address::is_public(*found));
            let public: Vec<_> = public.map(|found| SocketAddr::new(found, 0)).collect();
            if public.is_empty() {
                return Err(format!("{} is not on the internet", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

fn challenge(answer: &Response) -> Option<Challenge> {
    let offered = answer.headers().get_all(WWW_AUTHENTICATE).iter();
    offered
        .filter_map(|value| value.to_str().ok())
        .find_map(Challenge::parse)
}

/// Either is used (Distribution, "Token Authentication Specification").
#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
}

/// A token that everybody gets.
async fn token(
    client: &Client,
    challenge: &Challenge,
    repository: &Repository,
) -> Result<HeaderValue, Failure> {
    let failed = |why: &'static str| Failure::unreachable(&challenge.realm, why);
    let mut url = Url::parse(&challenge.realm).map_err(|_| failed("no place of a token"))?;
    if !has_name(&url) {
        return Err(failed("a token is fetched by HTTPS, from a name"));
    }
    let scope = format!("repository:{}:pull", repository.name());
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("scope", &scope);
        if let Some(service) = &challenge.service {
            query.append_pair("service", service);
        }
    }
    let gone = |error: reqwest::Error| Failure::unreachable(&challenge.realm, error.without_url());
    let mut answer = client.get(url).timeout(ANSWER).send().await.map_err(gone)?;
    let status = answer.status();
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        let url = challenge.realm.clone();
        return Err(Failure::Refused { url, status });
    }
    let body = read(&mut answer, LARGEST_TOKEN).await;
    let body = body.map_err(|error| Failure::unreachable(&challenge.realm, error))?;
    let given: Given = serde_json::from_slice(&body).map_err(|_| failed("it gave no token"))?;
    let token = given.token.or(given.access_token);
    let token = token.ok_or_else(|| failed("it gave no token"))?;
    let mut header =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| failed("it gave no token"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// A whole body, unless it is larger than `most`.
pub(super) async fn read(
    answer: &mut Response,
    most: usize,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + part.len() > most {
            return Err(format!("it is larger than {most} bytes").into());
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}
