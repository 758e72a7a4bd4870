//! Files of the node, in and out: looks at paths, reads and writes trees as tar streams.
//!
//! The work blocks and is done on a thread of its own; a client that goes away ends it, and what was in the making is
//! removed.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tonic::{Status, Streaming};
use vial_archive::{ArchiveError, Kind, Owner, Root, Summary, Trust, Unpacking};
use vial_rpc::read_tree_part::Part as ReadPart;
use vial_rpc::write_tree_part::Part as WritePart;
use vial_rpc::{
    LookReply, LookRequest, ReadTreePart, ReadTreeRequest, TreeSummary, WriteTreePart,
    WriteTreeStart, look_reply,
    pipe::{self, Block},
};
use vial_sys::error_chain;

/// Messages that wait for a slow client; each is a block of [`pipe`].
const QUEUE: usize = 2;

/// What a client of [`read`] gets.
pub(crate) type Parts = mpsc::Receiver<Result<ReadTreePart, Status>>;

/// Looks at a path.
pub(crate) async fn look(request: LookRequest) -> Result<LookReply, Status> {
    let path = absolute(request.path)?;
    let seen = blocking(move || {
        vial_archive::look(&path, request.follow).map_err(|source| ArchiveError::Io {
            operation: "look at",
            path,
            source,
        })
    })
    .await?;
    let kind = match seen.kind {
        Kind::Missing => look_reply::Kind::Missing,
        Kind::File => look_reply::Kind::File,
        Kind::Directory => look_reply::Kind::Directory,
        Kind::Link => look_reply::Kind::Link,
        Kind::Special => look_reply::Kind::Special,
    };
    Ok(LookReply {
        kind: kind.into(),
        real: seen.real.into_os_string().into_vec(),
        parent: seen.parent,
    })
}

/// Reads a tree; the queue ends with a summary or an error.
pub(crate) fn read(request: ReadTreeRequest) -> Result<Parts, Status> {
    let path = absolute(request.path)?;
    let root = match request.name {
        name if name.is_empty() => Root::Contents,
        name => Root::Named(OsString::from_vec(name)),
    };
    let (parts, queue) = mpsc::channel(QUEUE);
    let (writer, mut blocks) = pipe::writer();
    let packing = blocking(move || vial_archive::pack(writer, &path, &root));
    tokio::spawn(async move {
        let part = |part| Ok(ReadTreePart { part: Some(part) });
        while let Some(block) = blocks.recv().await {
            if parts.send(part(ReadPart::Data(block))).await.is_err() {
                // Dropping the blocks ends the packing.
                return;
            }
        }
        let last = match packing.await {
            Ok(summary) => part(ReadPart::Done(message(summary))),
            Err(status) => Err(status),
        };
        let _ = parts.send(last).await;
    });
    Ok(queue)
}

/// Writes the tree that comes by `parts`, after their start.
pub(crate) async fn write(
    start: WriteTreeStart,
    mut parts: Streaming<WriteTreePart>,
) -> Result<TreeSummary, Status> {
    let directory = absolute(start.directory)?;
    let options = Unpacking {
        owner: start
            .owner
            .map_or(Owner::Keep, |owner| Owner::Be(owner.uid, owner.gid)),
        // Whoever may copy into a node is root on it.
        trust: Trust::Whole,
        only: Some(start.only)
            .filter(|only| !only.is_empty())
            .map(OsString::from_vec),
    };
    let (blocks, reader) = pipe::reader();
    let unpacking = blocking(move || vial_archive::unpack(reader, &directory, &options));
    let feeding = async move {
        loop {
            let block = match parts.message().await {
                Ok(Some(WriteTreePart { part })) => match part {
                    Some(WritePart::Data(data)) => Block::Data(data),
                    Some(WritePart::End(_)) => Block::End,
                    Some(WritePart::Start(_)) | None => continue,
                },
                // Without an end it was cut off: dropping our side tells so.
                Ok(None) | Err(_) => return,
            };
            let ended = block == Block::End;
            if blocks.send(block).await.is_err() || ended {
                return;
            }
        }
    };
    let (summary, ()) = futures::future::join(unpacking, feeding).await;
    Ok(message(summary?))
}

/// Runs what blocks on a thread of its own, at once and to its end.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> impl Future<Output = Result<T, Status>> {
    let task = spawn_blocking(work);
    async move {
        task.await
            .map_err(|_| Status::internal("the work was interrupted"))?
            .map_err(refused)
    }
}

fn absolute(path: Vec<u8>) -> Result<PathBuf, Status> {
    let path = PathBuf::from(OsString::from_vec(path));
    let whole = path.is_absolute() && !path.as_os_str().as_bytes().contains(&0);
    if whole {
        return Ok(path);
    }
    let shown = path.display();
    Err(Status::invalid_argument(format!(
        "`{shown}` is not an absolute path"
    )))
}

fn message(summary: Summary) -> TreeSummary {
    TreeSummary {
        entries: summary.entries,
        bytes: summary.bytes,
        notes: summary.notes,
        more_notes: summary.more_notes,
    }
}

fn refused(error: ArchiveError) -> Status {
    use io::ErrorKind as Io;
    let text = error_chain(&error);
    match error.kind() {
        Io::NotFound => Status::not_found(text),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => Status::permission_denied(text),
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Status::resource_exhausted(text),
        Io::AlreadyExists | Io::InvalidData => Status::invalid_argument(text),
        _ => Status::failed_precondition(text),
    }
}
