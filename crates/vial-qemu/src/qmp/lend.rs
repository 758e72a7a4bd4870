//! Files that QEMU may use though it could not open them: it runs as nobody, they are their owner's.
//!
//! A descriptor goes along with a command over the unix socket (SCM_RIGHTS, unix(7)). QEMU keeps it in a set, and opens
//! `/dev/fdset/N` by it (add-fd in qapi/misc.json), with no other rights than those it was opened with here.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::unix::OwnedWriteHalf;

use super::commands::understand;
use super::{PATIENCE, Qmp, QmpError};

/// A file that QEMU holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lent(u64);

impl Lent {
    /// What QEMU opens it by.
    #[must_use]
    pub fn path(self) -> String {
        format!("/dev/fdset/{}", self.0)
    }
}

impl Qmp {
    /// Lends a file; [`take_back`](Self::take_back) ends that.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute).
    pub async fn lend(&self, file: impl Into<OwnedFd>) -> Result<Lent, QmpError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Added {
            fdset_id: u64,
        }
        let command = "add-fd";
        let added = self.request(PATIENCE, command, json!({}), Some(file.into()));
        let Added { fdset_id } = understand(command, added.await?)?;
        Ok(Lent(fdset_id))
    }

    /// QEMU may not open it again; what it has opened it keeps.
    ///
    /// # Errors
    /// As for [`execute`](Self::execute).
    pub async fn take_back(&self, lent: Lent) -> Result<(), QmpError> {
        let set = json!({ "fdset-id": lent.0 });
        self.execute("remove-fd", set).await.map(drop)
    }
}

/// Writes a line, the file with its first bytes.
pub(super) async fn write(
    socket: &mut OwnedWriteHalf,
    line: &[u8],
    file: Option<OwnedFd>,
) -> io::Result<()> {
    let Some(file) = file else {
        return socket.write_all(line).await;
    };
    let stream = socket.as_ref();
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let files = [file.as_fd()];
            let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut along = SendAncillaryBuffer::new(&mut room);
            along.push(SendAncillaryMessage::ScmRights(&files));
            let flags = SendFlags::NOSIGNAL;
            Ok(sendmsg(stream, &[IoSlice::new(line)], &mut along, flags)?)
        })
        .await?;
    socket.write_all(&line[sent..]).await
}
