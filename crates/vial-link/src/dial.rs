//! What others on the host use: a connection into the guest through the sockets of the role `vial-link`.

use std::path::Path;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use crate::host::{OpenError, check};
use crate::stream::read_line;
use crate::target::Target;

/// Connects to `target` in the guest whose `vial-link` serves `socket` (`--dial`); from then on all bytes are the
/// target's.
///
/// # Errors
/// When nobody serves the socket, which is so while the guest's end does not answer, or when the guest cannot reach the
/// target.
pub async fn dial(socket: &Path, target: &Target) -> Result<UnixStream, OpenError> {
    let line = target.line()?;
    let asked = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(line.as_bytes()).await?;
        let answer = read_line(&mut stream).await?;
        Ok((stream, answer))
    };
    let (stream, answer) = asked.await.map_err(OpenError::Lost)?;
    check(target, &answer)?;
    Ok(stream)
}
