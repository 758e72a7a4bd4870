//! Bytes between code that blocks (tar, files) and the messages of a stream.
//!
//! Both directions hold a few blocks at most, so that a fast side waits for a slow one. Either end sees when the other
//! one is gone.

use std::io::{self, BufRead, Read, Write};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

/// One message's worth: big enough that its frame does not count, far below the limit of a message.
const BLOCK: usize = 256 * 1024;
/// Blocks on the way.
const DEPTH: usize = 4;

/// A writer for a thread that may block, and the blocks it wrote.
#[must_use]
pub fn writer() -> (BlockWriter, mpsc::Receiver<Bytes>) {
    let (blocks, queue) = mpsc::channel(DEPTH);
    let block = Vec::new();
    (BlockWriter { blocks, block }, queue)
}

/// What is put into a [`reader`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// The next bytes.
    Data(Bytes),
    /// That was all. When the sender goes away without saying so, reading fails.
    End,
}

/// Where blocks are put, and a reader for a thread that may block.
#[must_use]
pub fn reader() -> (mpsc::Sender<Block>, BlockReader) {
    let (blocks, queue) = mpsc::channel(DEPTH);
    let reader = BlockReader {
        queue,
        block: Bytes::new(),
        ended: false,
    };
    (blocks, reader)
}

/// See [`writer`]. What is not flushed is lost when it is dropped.
#[derive(Debug)]
pub struct BlockWriter {
    blocks: mpsc::Sender<Bytes>,
    block: Vec<u8>,
}

impl BlockWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::take(&mut self.block);
        self.blocks
            .blocking_send(block.into())
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for BlockWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.capacity() == 0 {
            self.block.reserve_exact(BLOCK);
        }
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// See [`reader`].
#[derive(Debug)]
pub struct BlockReader {
    queue: mpsc::Receiver<Block>,
    block: Bytes,
    ended: bool,
}

impl BufRead for BlockReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.block.is_empty() && !self.ended {
            match self.queue.blocking_recv() {
                Some(Block::Data(block)) => self.block = block,
                Some(Block::End) => self.ended = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(&self.block)
    }

    fn consume(&mut self, count: usize) {
        self.block.advance(count);
    }
}

impl Read for BlockReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let block = self.fill_buf()?;
        let taken = block.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&block[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_arrives_in_blocks() {
        let (mut writer, mut blocks) = writer();
        let thread = std::thread::spawn(move || {
            for byte in 0..=255 {
                writer.write_all(&[byte; 5000]).unwrap();
            }
            writer.flush().unwrap();
        });
        let mut all = Vec::new();
        while let Some(block) = blocks.blocking_recv() {
            assert!(block.len() <= BLOCK);
            all.extend_from_slice(&block);
        }
        thread.join().unwrap();
        assert_eq!(all.len(), 256 * 5000);
        assert_eq!((all[0], all[all.len() - 1]), (0, 255));
    }

    #[test]
    fn a_writer_notices_that_nobody_reads() {
        let (mut writer, blocks) = writer();
        drop(blocks);
        writer.write_all(b"x").unwrap();
        let error = writer.flush().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn only_an_end_is_an_end() {
        let (blocks, mut reader) = reader();
        let data = |text: &'static str| Block::Data(Bytes::from_static(text.as_bytes()));
        for block in [data("one "), data(""), data("two"), Block::End] {
            blocks.blocking_send(block).unwrap();
        }
        assert_eq!(io::read_to_string(&mut reader).unwrap(), "one two");

        let (blocks, mut reader) = super::reader();
        blocks.blocking_send(data("one")).unwrap();
        drop(blocks);
        let error = io::read_to_string(&mut reader).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
