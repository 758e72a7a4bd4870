//! The bytes of a copy: one side packs, the other unpacks, a few blocks are on the way.
//!
//! ```text
//!  host ─ pack ─► blocks ─► WriteTree ─► node         node ─► ReadTree ─► blocks ─► unpack ─ host
//!                          node ─► ReadTree ─► WriteTree ─► node
//! ```
//! # On failure
//! A side that fails or goes away lets the stream end without its end mark. The receiving side then removes what was in
//! the making; files that were complete stay. The same copy may be run again.

use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_stream::wrappers::ReceiverStream;
use vial_archive::{ArchiveError, Root, Summary, Trust, Unpacking};
use vial_rpc::agent_client::AgentClient;
use vial_rpc::read_tree_part::Part as ReadPart;
use vial_rpc::write_tree_part::Part as WritePart;
use vial_rpc::{
    Bytes, Channel, ReadTreePart, ReadTreeRequest, Status, TreeOwner, TreeSummary, WriteTreePart,
    WriteTreeStart,
    pipe::{self, Block},
};

use super::end::{End, refused};
use super::rules::Target;
use crate::agent;
use crate::error::{Code, Error, Result};
use crate::interrupt;
use crate::ui::Ui;

/// How the receiving side writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing {
    /// To whom the files shall belong.
    pub(crate) owner: vial_archive::Owner,
    /// What a node may have made on the host. Nodes take everything: whoever copies is root on them.
    pub(crate) trust: Trust,
}

/// Copies the tree at `path` to its target; `what` is how the errors begin.
pub(crate) async fn copy(
    from: &End,
    path: &Path,
    to: &End,
    target: &Target,
    writing: Writing,
    what: &str,
) -> Result<Summary> {
    match (from, to) {
        (End::Host, End::Node(_, client)) => {
            let (writer, blocks) = pipe::writer();
            let (path, root) = (path.to_path_buf(), target.root.clone());
            let packing = spawn_blocking(move || vial_archive::pack(writer, &path, &root));
            let (parts, packed) = whole(ReceiverStream::new(blocks), packing);
            let sent = send(client, start(target, writing), parts, what).await;
            match packed.await {
                // It cannot go on where nobody takes it: then the other side says why.
                Ok(Err(error)) if !matches!(error, ArchiveError::Write { .. }) => {
                    Err(refused(what.to_owned(), error))
                }
                Ok(Ok(packed)) => sent.map(|summary| with_notes(summary, packed)),
                _ => sent,
            }
        }
        (End::Node(_, client), End::Host) => receive(client, path, target, writing, what).await,
        (End::Node(_, source), End::Node(_, client)) => {
            let parts = request(source, path, &target.root, what).await?;
            let (failed, mut failure) = mpsc::channel(1);
            let parts = parts.filter_map(move |part| {
                let failed = failed.clone();
                async move {
                    match part {
                        Ok(ReadPart::Data(data)) => Some(WritePart::Data(data)),
                        Ok(ReadPart::Done(_)) => Some(WritePart::End(true)),
                        // The missing end tells the other node.
                        Err(status) => {
                            let _ = failed.send(status).await;
                            None
                        }
                    }
                }
            });
            let sent = send(client, start(target, writing), parts, what).await;
            match failure.try_recv() {
                Ok(status) => Err(agent::refused(what.to_owned(), &status)),
                Err(_) => sent,
            }
        }
        (End::Host, End::Host) => Err(Error::new(
            Code::BadInput,
            format!("{what}: neither is on a node"),
        )),
    }
}

/// Unpacks the archive on standard input into a directory of a node.
pub(crate) async fn from_stdin(
    to: &End,
    directory: &Path,
    writing: Writing,
    what: &str,
) -> Result<Summary> {
    let End::Node(_, client) = to else {
        return Err(Error::new(Code::BadInput, format!("{what}: not a node")));
    };
    let (blocks, queue) = mpsc::channel(4);
    // A read of standard input cannot be taken back, so nobody waits for this thread.
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let part = match stdin.read(&mut buffer) {
                Ok(0) => WritePart::End(true),
                Ok(length) => WritePart::Data(Bytes::copy_from_slice(&buffer[..length])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let end = matches!(part, WritePart::End(_));
            if blocks.blocking_send(part).is_err() || end {
                return;
            }
        }
    });
    let target = Target {
        directory: directory.into(),
        root: Root::Contents,
    };
    send(
        client,
        start(&target, writing),
        ReceiverStream::new(queue),
        what,
    )
    .await
}

/// Writes a tree of a node to standard output, as an archive.
pub(crate) async fn to_stdout(
    ui: &Ui,
    from: &End,
    path: &Path,
    root: &Root,
    what: &str,
) -> Result<Summary> {
    let End::Node(_, client) = from else {
        return Err(Error::new(Code::BadInput, format!("{what}: not a node")));
    };
    let mut parts = std::pin::pin!(request(client, path, root, what).await?);
    loop {
        let part = tokio::select! {
            part = parts.next() => part,
            () = interrupt::signal() => return Err(interrupted(what)),
        };
        match part {
            Some(Ok(ReadPart::Data(data))) => ui.data(data)?,
            Some(Ok(ReadPart::Done(done))) => return Ok(summary(done)),
            Some(Err(status)) => return Err(agent::refused(what.to_owned(), &status)),
            None => return Err(cut_off(what)),
        }
    }
}

/// From a node to the host.
async fn receive(
    client: &AgentClient<Channel>,
    path: &Path,
    target: &Target,
    writing: Writing,
    what: &str,
) -> Result<Summary> {
    let mut parts = std::pin::pin!(request(client, path, &target.root, what).await?);
    let options = Unpacking {
        owner: writing.owner,
        trust: writing.trust,
        only: match &target.root {
            Root::Named(name) => Some(name.clone()),
            Root::Contents => None,
        },
    };
    let (blocks, reader) = pipe::reader();
    let directory = target.directory.clone();
    let unpacking = spawn_blocking(move || vial_archive::unpack(reader, &directory, &options));
    let mut packed = Summary::default();
    let fed = loop {
        let part = tokio::select! {
            part = parts.next() => part,
            () = interrupt::signal() => break Err(interrupted(what)),
        };
        let block = match part {
            Some(Ok(ReadPart::Data(data))) => Block::Data(data),
            Some(Ok(ReadPart::Done(done))) => {
                packed = summary(done);
                Block::End
            }
            Some(Err(status)) => break Err(agent::refused(what.to_owned(), &status)),
            None => break Err(cut_off(what)),
        };
        // When unpacking ended early, its own error is the one to tell.
        let ended = block == Block::End;
        if blocks.send(block).await.is_err() || ended {
            break Ok(());
        }
    };
    // Without an end the unpacking removes what is in the making; it must not be left to the end of the process.
    drop(blocks);
    let unpacked = finish(unpacking).await;
    fed?;
    let unpacked = unpacked.map_err(|error| refused(what.to_owned(), error))?;
    Ok(with_notes(unpacked, packed))
}

/// Sends parts to a node until it answers.
async fn send(
    client: &AgentClient<Channel>,
    start: WriteTreeStart,
    parts: impl Stream<Item = WritePart> + Send + 'static,
    what: &str,
) -> Result<Summary> {
    let first = stream::iter([WritePart::Start(start)]);
    let parts = first
        .chain(parts)
        .map(|part| WriteTreePart { part: Some(part) });
    let mut client = client.clone();
    tokio::select! {
        reply = client.write_tree(parts) => match reply {
            Ok(reply) => Ok(summary(reply.into_inner())),
            Err(status) => Err(agent::refused(what.to_owned(), &status)),
        },
        // The agent sees the cancelled stream, and removes what is in the making.
        () = interrupt::signal() => Err(interrupted(what)),
    }
}

/// Asks a node for a tree.
async fn request(
    client: &AgentClient<Channel>,
    path: &Path,
    root: &Root,
    what: &str,
) -> Result<impl Stream<Item = Result<ReadPart, Status>> + Send + use<>> {
    let request = ReadTreeRequest {
        path: path.as_os_str().as_bytes().to_vec(),
        name: match root {
            Root::Named(name) => name.clone().into_vec(),
            Root::Contents => Vec::new(),
        },
    };
    let parts = client.clone().read_tree(request).await;
    let parts = parts.map_err(|status| agent::refused(what.to_owned(), &status))?;
    Ok(parts
        .into_inner()
        .filter_map(|part| async { part.map(|ReadTreePart { part }| part).transpose() }))
}

/// The blocks of a packing, with the end mark only when it went well; and how it went.
fn whole(
    blocks: impl Stream<Item = Bytes> + Send + 'static,
    packing: JoinHandle<Result<Summary, ArchiveError>>,
) -> (
    impl Stream<Item = WritePart> + Send + 'static,
    oneshot::Receiver<Result<Summary, ArchiveError>>,
) {
    let (tell, told) = oneshot::channel();
    let end = async move {
        let packed = finish(packing).await;
        let end = packed.is_ok().then_some(WritePart::End(true));
        // Nobody may want to know any more.
        let _ = tell.send(packed);
        stream::iter(end)
    };
    let end = stream::once(end).flatten();
    (blocks.map(WritePart::Data).chain(end), told)
}

fn with_notes(mut summary: Summary, more: Summary) -> Summary {
    summary.notes.extend(more.notes);
    summary.more_notes += more.more_notes;
    summary
}

async fn finish(task: JoinHandle<Result<Summary, ArchiveError>>) -> Result<Summary, ArchiveError> {
    task.await.unwrap_or_else(|error| {
        Err(ArchiveError::Read {
            source: std::io::Error::other(error),
        })
    })
}

fn start(target: &Target, writing: Writing) -> WriteTreeStart {
    WriteTreeStart {
        directory: target.directory.as_os_str().as_bytes().to_vec(),
        only: match &target.root {
            Root::Named(name) => name.clone().into_vec(),
            Root::Contents => Vec::new(),
        },
        owner: match writing.owner {
            vial_archive::Owner::Keep => None,
            vial_archive::Owner::Be(uid, gid) => Some(TreeOwner { uid, gid }),
        },
    }
}

fn summary(reply: TreeSummary) -> Summary {
    Summary {
        entries: reply.entries,
        bytes: reply.bytes,
        notes: reply.notes,
        more_notes: reply.more_notes,
    }
}

fn interrupted(what: &str) -> Error {
    Error::new(Code::Interrupted, format!("{what}: interrupted"))
        .hint("what is complete stays; the same command copies the rest")
}

fn cut_off(what: &str) -> Error {
    Error::new(Code::Failed, format!("{what}: the node went away"))
}
