//! One HTTP/1.1 GET of a server known by its address (RFC 9112), of which only the status matters.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use vial_rpc::HttpProbe;

use super::{ProbeError, tls};

/// A status line is short; a server that sends more than that without a newline does not speak HTTP.
const LONGEST_LINE: u64 = 1024;

/// What a probe's URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    tls: bool,
    address: SocketAddr,
    /// As in the URL: goes into the Host field.
    authority: String,
    path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, ProbeError> {
        Self::parse_parts(url).ok_or_else(|| ProbeError::Url {
            url: url.to_string(),
        })
    }

    fn parse_parts(url: &str) -> Option<Self> {
        let (tls, rest) = match url.split_once("://")? {
            ("http", rest) => (false, rest),
            ("https", rest) => (true, rest),
            _ => return None,
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let default_port = if tls { 443 } else { 80 };
        let bare = authority
            .strip_prefix('[')
            .and_then(|address| address.strip_suffix(']'))
            .unwrap_or(authority);
        let address = authority
            .parse()
            .ok()
            .or_else(|| Some(SocketAddr::new(bare.parse().ok()?, default_port)))?;
        // Spaces and line ends would end the request line.
        if path
            .chars()
            .any(|character| character.is_ascii_control() || character == ' ')
        {
            return None;
        }
        let path = if path.starts_with('/') {
            path.to_string()
        } else {
            format!("/{path}")
        };
        Some(Self {
            tls,
            address,
            authority: authority.to_string(),
            path,
        })
    }
}

/// Asks the same URL again and again; keeps what is worth keeping between attempts: certificates and the TLS session.
#[derive(Default)]
pub(super) struct Asker {
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Asker {
    pub(super) async fn ask(&mut self, probe: &HttpProbe) -> Result<(), ProbeError> {
        let target = Target::parse(&probe.url)?;
        let connection = TcpStream::connect(target.address).await;
        let connection = connection.map_err(|source| ProbeError::Connect {
            to: target.address.to_string(),
            source,
        })?;
        let ask_error = |source| ProbeError::Ask {
            url: probe.url.clone(),
            source,
        };
        let status = if target.tls {
            let config = match &self.tls {
                Some(config) => config.clone(),
                // The files may be made while the component starts.
                None => self
                    .tls
                    .insert(Arc::new(tls::client_config(probe)?))
                    .clone(),
            };
            let name = ServerName::IpAddress(target.address.ip().into());
            let connection = TlsConnector::from(config)
                .connect(name, connection)
                .await
                .map_err(ask_error)?;
            get(connection, &target).await
        } else {
            get(connection, &target).await
        };
        match status.map_err(ask_error)? {
            200..=299 => Ok(()),
            status => Err(ProbeError::Status {
                url: probe.url.clone(),
                status,
            }),
        }
    }
}

async fn get(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    target: &Target,
) -> io::Result<u16> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: vial-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        target.path, target.authority
    );
    connection.write_all(request.as_bytes()).await?;
    connection.flush().await?;
    let mut line = String::new();
    BufReader::new(connection.take(LONGEST_LINE))
        .read_line(&mut line)
        .await?;
    parse_status(&line).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not HTTP: {:?}", line.trim_end()),
        )
    })
}

fn parse_status(line: &str) -> Option<u16> {
    let mut words = line.split_ascii_whitespace();
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    words.next().filter(|code| code.len() == 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_addresses_are_understood() {
        let target = Target::parse("https://127.0.0.1:6443/readyz?verbose").unwrap();
        assert_eq!(
            (target.tls, target.address),
            (true, "127.0.0.1:6443".parse().unwrap())
        );
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("127.0.0.1:6443", "/readyz?verbose")
        );
        assert_eq!(
            Target::parse("http://[fd89::1]").unwrap().address,
            "[fd89::1]:80".parse().unwrap()
        );
        assert_eq!(
            Target::parse("https://[::1]:2379/health").unwrap().address,
            "[::1]:2379".parse().unwrap()
        );
        assert_eq!(Target::parse("http://10.0.0.1?x").unwrap().path, "/?x");
    }

    #[test]
    fn names_and_other_schemes_are_refused() {
        for url in [
            "",
            "127.0.0.1:80",
            "ftp://127.0.0.1/",
            "http://localhost/",
            "http:///x",
            "http://1.2.3.4/a b",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn only_a_status_line_has_a_status() {
        assert_eq!(parse_status("HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(parse_status("HTTP/1.0 503\r\n"), Some(503));
        assert_eq!(parse_status("SSH-2.0-OpenSSH_10\r\n"), None);
        assert_eq!(parse_status("HTTP/1.1 20\r\n"), None);
        assert_eq!(parse_status(""), None);
    }
}
