//! What goes over the line: marks, by which the two ends find each other, and chunks, which carry a session. Pure.
//!
//! ```text
//! mark    FILL × LEAD   "\0vial-link/1\0"   kind (1)   word (16)
//! chunk   tag (4): the beginning of the session's word   length (4, big endian)   data (1..=MOST)
//! ```
//!
//! # Why it finds itself again
//! The line is a pipe that outlives both of its ends. What one end has half sent when it is killed comes before what
//! its successor sends, and the other end need not have noticed the change in between: a virtio port keeps bytes, loses
//! bytes, and tells of a close and an open that follow each other quickly as of nothing at all. So every chunk names its
//! session, and every mark is led in by as much fill as a chunk can lack: the fill completes a half chunk, and the rest
//! of it is no head of a chunk. Whoever sees such a head leaves the session and looks for the next mark.
//!
//! A word is random and known to the two ends only, so nothing that was sent before, by whomever, can pass for an
//! answer to it.

use std::io::IoSlice;

use bytes::{Buf as _, BufMut as _, BytesMut};

/// What distinguishes one session from every other.
pub(crate) type Word = [u8; 16];

/// The most bytes that a chunk carries. With its head it is the most that a virtio port takes at once (32 KiB,
/// `port_fops_write` in drivers/char/virtio_console.c).
pub(crate) const MOST: usize = 32 * 1024 - HEAD;
/// The bytes of a chunk's head.
pub(crate) const HEAD: usize = 8;

/// Begins no tag (see [`word`]) and no length.
const FILL: u8 = 0xff;
/// A head that lacks its last byte, and the longest chunk that it could tell of.
const LEAD: usize = HEAD + MOST;
/// The number is that of this protocol.
const MAGIC: &[u8; 13] = b"\0vial-link/1\0";
const MARK: usize = MAGIC.len() + 1 + size_of::<Word>();

/// A sign of life of one end, outside of any session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The guest is there and in no session.
    Here,
    /// The host begins the session of this word; whatever was before is over.
    Call(Word),
    /// The guest is in that session: chunks follow.
    Answer(Word),
}

/// A word from the kernel's random numbers, or from bytes of a test. Its first byte keeps it apart from marks and fill.
pub(crate) fn word(mut random: Word) -> Word {
    random[0] = random[0] & 0x3f | 0x80;
    random
}

impl Mark {
    /// Appends it with the fill that leads it in.
    pub(crate) fn put(self, to: &mut BytesMut) {
        to.put_bytes(FILL, LEAD);
        to.put_slice(MAGIC);
        let (kind, word) = match self {
            Self::Here => (b'H', Word::default()),
            Self::Call(word) => (b'C', word),
            Self::Answer(word) => (b'A', word),
        };
        to.put_u8(kind);
        to.put_slice(&word);
    }

    /// Takes the next mark, and all that comes before it; `None` when it is not there, or not whole, yet.
    pub(crate) fn take(from: &mut BytesMut) -> Option<Self> {
        loop {
            let found = from.windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
            let Some(at) = found else {
                // Its beginning may be the end of what is there.
                from.advance(from.len().saturating_sub(MAGIC.len() - 1));
                return None;
            };
            from.advance(at);
            if from.len() < MARK {
                return None;
            }
            let kind = from[MAGIC.len()];
            let mut word = Word::default();
            word.copy_from_slice(&from[MAGIC.len() + 1..MARK]);
            match kind {
                b'H' => {
                    from.advance(MARK);
                    return Some(Self::Here);
                }
                b'C' => {
                    from.advance(MARK);
                    return Some(Self::Call(word));
                }
                b'A' => {
                    from.advance(MARK);
                    return Some(Self::Answer(word));
                }
                // Only looked like one.
                _ => from.advance(1),
            }
        }
    }
}

/// What comes next in a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A chunk with so many bytes.
    Chunk(usize),
    /// Too little to tell.
    Unknown,
    /// The lead of a mark: the other end has begun anew.
    Mark,
    /// Nothing that either end sends in this session.
    Noise,
}

/// Appends a chunk of the session with the first `length` bytes of what is given: 1 to [`MOST`].
pub(crate) fn put_chunk(word: &Word, data: &[IoSlice<'_>], length: usize, to: &mut BytesMut) {
    debug_assert!((1..=MOST).contains(&length));
    to.put_slice(&word[..4]);
    to.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    let mut left = length;
    for slice in data {
        let part = &slice[..slice.len().min(left)];
        to.put_slice(part);
        left -= part.len();
    }
}

/// Takes the head of the next chunk; takes nothing else.
pub(crate) fn take_head(word: &Word, from: &mut BytesMut) -> Head {
    match from.first() {
        None => return Head::Unknown,
        Some(&FILL | 0) => return Head::Mark,
        Some(_) => {}
    }
    if from.len() < HEAD {
        return Head::Unknown;
    }
    let mut head = &from[..HEAD];
    let own = head[..4] == word[..4];
    head.advance(4);
    match usize::try_from(head.get_u32()) {
        Ok(length @ 1..=MOST) if own => {
            from.advance(HEAD);
            Head::Chunk(length)
        }
        _ => Head::Noise,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put_chunk(word: &Word, data: &[u8], to: &mut BytesMut) {
        let (first, second) = data.split_at(data.len() / 2);
        let slices = [first, second, b"not this"].map(IoSlice::new);
        super::put_chunk(word, &slices, data.len(), to);
    }

    fn bytes(mark: Mark) -> BytesMut {
        let mut bytes = BytesMut::new();
        mark.put(&mut bytes);
        bytes
    }

    #[test]
    fn a_word_begins_neither_fill_nor_a_mark() {
        for first in 0..=255 {
            let word = word([first; 16]);
            assert!(
                word[0] != FILL && word[0] != MAGIC[0],
                "{first} → {}",
                word[0]
            );
        }
    }

    #[test]
    fn a_mark_is_found_byte_by_byte() {
        let mark = Mark::Call(word([7; 16]));
        let mut line = BytesMut::new();
        let all = bytes(mark);
        for byte in &all[..all.len() - 1] {
            line.put_u8(*byte);
            assert_eq!(Mark::take(&mut line), None);
        }
        line.put_u8(all[all.len() - 1]);
        assert_eq!(Mark::take(&mut line), Some(mark));
        assert!(line.is_empty());
    }

    #[test]
    fn what_only_looks_like_a_mark_is_passed_over() {
        let mut line = BytesMut::new();
        line.put_slice(MAGIC);
        line.put_bytes(b'?', 3);
        line.unsplit(bytes(Mark::Here));
        line.put_slice(b"rest");
        assert_eq!(Mark::take(&mut line), Some(Mark::Here));
        assert_eq!(&line[..], b"rest");
    }

    #[test]
    fn a_chunk_of_another_session_is_noise() {
        let mut line = BytesMut::new();
        put_chunk(&word([1; 16]), b"old", &mut line);
        assert_eq!(take_head(&word([2; 16]), &mut line), Head::Noise);
        assert_eq!(take_head(&word([1; 16]), &mut line), Head::Chunk(3));
        assert_eq!(&line[..], b"old");
    }

    #[test]
    fn no_chunk_is_empty_or_too_long() {
        let word = word([1; 16]);
        for length in [0, MOST as u32 + 1, u32::MAX] {
            let mut line = BytesMut::from(&word[..4]);
            line.put_u32(length);
            assert_eq!(take_head(&word, &mut line), Head::Noise, "{length}");
        }
    }

    proptest! {
        /// The reason for the lead: an end that reads a session cut off anywhere comes to the mark that follows.
        #[test]
        fn a_cut_session_ends_at_the_next_mark(
            random in any::<Word>(),
            next in any::<Word>(),
            lengths in prop::collection::vec(1..=MOST, 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let (own, next) = (word(random), word(next));
            let mut line = BytesMut::new();
            for length in lengths {
                put_chunk(&own, &vec![0xab; length], &mut line);
            }
            line.truncate(cut.index(line.len() + 1));
            Mark::Call(next).put(&mut line);
            put_chunk(&next, b"first", &mut line);
            loop {
                match take_head(&own, &mut line) {
                    Head::Chunk(length) => {
                        prop_assert!(length <= line.len());
                        line.advance(length);
                    }
                    Head::Unknown => prop_assert!(false, "the reader would wait for ever"),
                    Head::Mark | Head::Noise => break,
                }
            }
            prop_assert_eq!(Mark::take(&mut line), Some(Mark::Call(next)));
            prop_assert_eq!(take_head(&next, &mut line), Head::Chunk(5));
        }

        #[test]
        fn marks_are_found_after_anything(noise in prop::collection::vec(any::<u8>(), 0..200), random in any::<Word>()) {
            let mark = Mark::Answer(word(random));
            let mut line = BytesMut::from(&noise[..]);
            mark.put(&mut line);
            let mut found = None;
            while let Some(mark) = Mark::take(&mut line) {
                found = Some(mark);
            }
            prop_assert_eq!(found, Some(mark));
        }
    }
}
