//! Readiness probes: asks until the answer is yes.
//!
//! A probe ends at its first success. Deliberately absent: asking on after that. Whether a component that once was
//! ready still serves is for the keeper to watch; restarting it would be a guess.

mod http;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use vial_rpc::Probe;
use vial_rpc::probe::How;
use vial_sys::error_chain;

/// Between two attempts when the probe says nothing. Refused connections cost microseconds, so asking often is cheap.
const DEFAULT_INTERVAL: Duration = Duration::from_millis(10);
/// One attempt may take that long: a server that accepts but hangs must not hang its probe.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Why an attempt did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("the probe has no kind")]
    NoKind,
    #[error("{address} is no address with a port")]
    Address { address: String },
    #[error("{url} is no http:// or https:// URL with an address")]
    Url { url: String },
    #[error("cannot connect to {to}")]
    Connect { to: String, source: io::Error },
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} holds no usable {what}", path.display())]
    Pem { what: &'static str, path: PathBuf },
    #[error("cannot set up TLS")]
    Tls { source: rustls::Error },
    #[error("cannot ask {url}")]
    Ask { url: String, source: io::Error },
    #[error("{url} answers {status}")]
    Status { url: String, status: u16 },
    #[error("{path} does not exist", path = path.display())]
    Missing { path: PathBuf },
    #[error("no answer within {} s", ATTEMPT.as_secs())]
    Late,
}

/// Whether `probe` could ever succeed: has a kind, and an address that can be read.
pub(crate) fn check(probe: &Probe) -> Result<(), ProbeError> {
    match probe.how.as_ref().ok_or(ProbeError::NoKind)? {
        How::Http(http) => http::Target::parse(&http.url).map(drop),
        How::Tcp(address) => parse_address(address).map(drop),
        How::UnixSocket(_) | How::File(_) => Ok(()),
    }
}

/// Asks until the first success; `failed` hears of each attempt that is none.
pub(crate) async fn until_success(probe: &Probe, failed: impl Fn(String)) {
    let interval = match probe.interval_ms {
        0 => DEFAULT_INTERVAL,
        milliseconds => Duration::from_millis(milliseconds),
    };
    let mut asker = http::Asker::default();
    loop {
        let attempt = tokio::time::timeout(ATTEMPT, attempt(probe, &mut asker)).await;
        match attempt.unwrap_or(Err(ProbeError::Late)) {
            Ok(()) => return,
            Err(error) => failed(error_chain(&error)),
        }
        tokio::time::sleep(interval).await;
    }
}

async fn attempt(probe: &Probe, asker: &mut http::Asker) -> Result<(), ProbeError> {
    match probe.how.as_ref().ok_or(ProbeError::NoKind)? {
        How::Http(http) => asker.ask(http).await,
        How::Tcp(address) => {
            let connection = TcpStream::connect(parse_address(address)?).await;
            connection.map(drop).map_err(|source| ProbeError::Connect {
                to: address.clone(),
                source,
            })
        }
        How::UnixSocket(path) => {
            let connection = UnixStream::connect(path).await;
            connection.map(drop).map_err(|source| ProbeError::Connect {
                to: path.clone(),
                source,
            })
        }
        How::File(path) if Path::new(path).exists() => Ok(()),
        How::File(path) => Err(ProbeError::Missing { path: path.into() }),
    }
}

fn parse_address(address: &str) -> Result<SocketAddr, ProbeError> {
    address.parse().map_err(|_| ProbeError::Address {
        address: address.to_string(),
    })
}
