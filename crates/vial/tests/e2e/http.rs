//! What a web server in a cluster says to a client of the host.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a web server says to a client of the host.
pub(crate) fn fetch(address: impl Into<SocketAddr>, path: &str) -> Result<String, String> {
    let address = address.into();
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: web\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer: String = ask().map_err(|error: std::io::Error| error.to_string())?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(format!("closed after {answer:?}"))?;
    if head.contains(" 200 ") {
        Ok(body.to_owned())
    } else {
        Err(head.to_owned())
    }
}

/// Nobody listens there.
pub(crate) fn refused(answer: Result<String, String>) -> Result<(), String> {
    match answer {
        Err(error) if error.contains("refused") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
