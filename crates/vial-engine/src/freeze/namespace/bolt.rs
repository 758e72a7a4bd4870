//! Reads bbolt databases (go.etcd.io/bbolt): as far as it takes to walk their buckets, while nobody writes.
//!
//! The format is that of `page.go`, `meta.go` and `bucket.go`: pages of one size; two of them are metas, of which the
//! newer one with a right checksum counts; a bucket is a tree of branch and leaf pages, or, when small, one leaf page
//! inside the value that stands for it. All numbers are of the machine that wrote them: little-endian here.

use std::io;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// id u64, flags u16, count u16, overflow u32.
const PAGE_HEADER: usize = 16;
/// Of branch and leaf pages alike.
const ELEMENT: usize = 16;
/// root u64, sequence u64.
const BUCKET_HEADER: usize = 16;
const BRANCH_PAGE: u16 = 0x01;
const LEAF_PAGE: u16 = 0x02;
/// Of a leaf's element: its value is a bucket.
const IS_BUCKET: u32 = 0x01;
/// Deeper trees than this mean that the file is none of bbolt's.
const DEEPEST: usize = 64;

/// A whole database in memory.
pub(super) struct Bolt<'a> {
    bytes: &'a [u8],
    page_size: usize,
    root: u64,
}

/// A bucket of it.
#[derive(Clone, Copy)]
pub(super) struct Bucket<'a> {
    bolt: &'a Bolt<'a>,
    root: u64,
    /// The one page of a small bucket.
    inline: Option<&'a [u8]>,
}

/// One entry of a bucket.
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    Bucket(Bucket<'a>),
}

impl<'a> Bolt<'a> {
    /// Understands a database.
    ///
    /// # Errors
    /// `InvalidData` when neither meta is whole.
    pub(super) fn open(bytes: &'a [u8]) -> io::Result<Self> {
        let first = meta(bytes, 0);
        // Both have the page size; where the first is torn, the second is looked for at the usual ones.
        let sizes = first.as_ref().map_or_else(
            || vec![4096, 8192, 16_384, 32_768, 65_536],
            |meta| vec![meta.page_size],
        );
        let second = sizes.into_iter().find_map(|size| meta(bytes, size));
        let newer = [first, second]
            .into_iter()
            .flatten()
            .max_by_key(|meta| meta.transaction);
        let meta = newer.ok_or_else(|| damaged("no whole meta page"))?;
        Ok(Self {
            bytes,
            page_size: meta.page_size,
            root: meta.root,
        })
    }

    /// The bucket of all buckets.
    pub(super) fn root(&'a self) -> Bucket<'a> {
        Bucket {
            bolt: self,
            root: self.root,
            inline: None,
        }
    }

    fn page(&self, id: u64) -> io::Result<&'a [u8]> {
        let start = usize::try_from(id)
            .ok()
            .and_then(|id| id.checked_mul(self.page_size));
        let page = start.and_then(|start| self.bytes.get(start..));
        page.ok_or_else(|| damaged("a page beyond the end"))
    }
}

impl<'a> Bucket<'a> {
    /// Calls `see` with each entry, in order of the keys.
    ///
    /// # Errors
    /// `InvalidData` where the file is damaged; those of `see`.
    pub(super) fn each(
        self,
        see: &mut impl FnMut(&'a [u8], Value<'a>) -> io::Result<()>,
    ) -> io::Result<()> {
        let page = match self.inline {
            Some(page) => page,
            None => self.bolt.page(self.root)?,
        };
        self.walk(page, 0, see)
    }

    fn walk(
        self,
        page: &'a [u8],
        depth: usize,
        see: &mut impl FnMut(&'a [u8], Value<'a>) -> io::Result<()>,
    ) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(damaged("a tree too deep"));
        }
        let flags = u16_at(page, 8)?;
        for index in 0..usize::from(u16_at(page, 10)?) {
            let at = PAGE_HEADER + index * ELEMENT;
            match flags {
                BRANCH_PAGE => {
                    let below = self.bolt.page(u64_at(page, at + 8)?)?;
                    self.walk(below, depth + 1, see)?;
                }
                LEAF_PAGE => {
                    let [kind, position, key_size, value_size] =
                        [at, at + 4, at + 8, at + 12].map(|at| u32_at(page, at));
                    let [position, key_size, value_size] =
                        [position?, key_size?, value_size?].map(|size| size as usize);
                    let key = slice(page, at + position, key_size)?;
                    let value = slice(page, at + position + key_size, value_size)?;
                    let value = match kind? & IS_BUCKET {
                        0 => Value::Bytes(value),
                        _ => Value::Bucket(self.below(value)?),
                    };
                    see(key, value)?;
                }
                _ => return Err(damaged("a page of another kind in a tree")),
            }
        }
        Ok(())
    }

    fn below(self, value: &'a [u8]) -> io::Result<Self> {
        let root = u64_at(value, 0)?;
        let inline = match root {
            0 => Some(
                value
                    .get(BUCKET_HEADER..)
                    .ok_or_else(|| damaged("a cut bucket"))?,
            ),
            _ => None,
        };
        Ok(Self {
            bolt: self.bolt,
            root,
            inline,
        })
    }

    /// The bucket of that name in this one.
    ///
    /// # Errors
    /// `InvalidData` where the file is damaged.
    pub(super) fn bucket(self, name: &[u8]) -> io::Result<Option<Self>> {
        let mut found = None;
        self.each(&mut |key, value| {
            if let Value::Bucket(bucket) = value
                && key == name
            {
                found = Some(bucket);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

struct Meta {
    page_size: usize,
    root: u64,
    transaction: u64,
}

/// The meta page at `start`, if it is whole: magic, version, page size, flags, root bucket, free list, end, transaction,
/// and their FNV-1a sum.
fn meta(bytes: &[u8], start: usize) -> Option<Meta> {
    let meta = bytes.get(start..)?.get(PAGE_HEADER..PAGE_HEADER + 64)?;
    let sum = meta[..56]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let whole = u32_at(meta, 0).ok()? == MAGIC
        && u32_at(meta, 4).ok()? == VERSION
        && u64_at(meta, 56).ok()? == sum;
    whole.then_some(Meta {
        page_size: u32_at(meta, 8).ok()? as usize,
        root: u64_at(meta, 16).ok()?,
        transaction: u64_at(meta, 48).ok()?,
    })
}

fn slice(bytes: &[u8], start: usize, length: usize) -> io::Result<&[u8]> {
    let end = start.checked_add(length);
    let found = end.and_then(|end| bytes.get(start..end));
    found.ok_or_else(|| damaged("an entry beyond the end"))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or_else(|| damaged("a cut page"))
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("not a bbolt database: {what}"),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A database of one leaf page: what bbolt writes for a few entries.
    pub(in super::super) fn database(entries: &[(&[u8], u32, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0; 4 * 4096];
        for (page, transaction) in [(0_usize, 1_u64), (1, 2)] {
            let mut meta = Vec::new();
            for number in [MAGIC, VERSION, 4096, 0] {
                meta.extend(number.to_le_bytes());
            }
            // Root page, its sequence, free list, end, transaction. The older meta has another root.
            let root = if transaction == 2 { 3 } else { 2 };
            for number in [root, 0, 2, 4, transaction] {
                meta.extend(number.to_le_bytes());
            }
            let sum = meta.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
                (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
            meta.extend(sum.to_le_bytes());
            let start = page * 4096 + PAGE_HEADER;
            bytes[start..start + meta.len()].copy_from_slice(&meta);
        }
        let leaf = leaf(entries);
        bytes[3 * 4096..3 * 4096 + leaf.len()].copy_from_slice(&leaf);
        bytes
    }

    /// A leaf page: of a database, or of an inline bucket.
    fn leaf(entries: &[(&[u8], u32, Vec<u8>)]) -> Vec<u8> {
        let mut page = vec![0; 8];
        page.extend(LEAF_PAGE.to_le_bytes());
        page.extend(u16::try_from(entries.len()).unwrap().to_le_bytes());
        page.extend([0; 4]);
        let mut data = Vec::new();
        for (index, (key, kind, value)) in entries.iter().enumerate() {
            let position = (entries.len() - index) * ELEMENT + data.len();
            for number in [*kind as usize, position, key.len(), value.len()] {
                page.extend(u32::try_from(number).unwrap().to_le_bytes());
            }
            data.extend_from_slice(key);
            data.extend_from_slice(value);
        }
        page.extend(data);
        page
    }

    /// The value of an inline bucket.
    pub(in super::super) fn bucket(entries: &[(&[u8], u32, Vec<u8>)]) -> Vec<u8> {
        let mut value = vec![0; BUCKET_HEADER];
        value.extend(leaf(entries));
        value
    }

    #[test]
    fn buckets_in_buckets_are_walked() {
        let inner = bucket(&[(b"kind", 0, vec![3]), (b"size", 0, vec![1, 2])]);
        let outer = bucket(&[
            (b"one", IS_BUCKET, inner.clone()),
            (b"two", IS_BUCKET, inner),
        ]);
        let bytes = database(&[(b"plain", 0, vec![9]), (b"v1", IS_BUCKET, outer)]);
        let bolt = Bolt::open(&bytes).unwrap();
        let v1 = bolt.root().bucket(b"v1").unwrap().unwrap();
        let mut seen = Vec::new();
        v1.each(&mut |key, value| {
            let Value::Bucket(bucket) = value else {
                panic!("only buckets are in it");
            };
            bucket.each(&mut |below, value| {
                let Value::Bytes(value) = value else {
                    panic!("no bucket is in it");
                };
                seen.push((key.to_vec(), below.to_vec(), value.to_vec()));
                Ok(())
            })
        })
        .unwrap();
        assert_eq!(seen.len(), 4);
        assert_eq!(seen[3], (b"two".to_vec(), b"size".to_vec(), vec![1, 2]));
        assert!(bolt.root().bucket(b"plain").unwrap().is_none());
    }

    #[test]
    fn what_is_damaged_is_an_error_and_never_a_panic() {
        let whole = database(&[(b"v1", IS_BUCKET, bucket(&[(b"key", 0, vec![7])]))]);
        assert!(Bolt::open(&[]).is_err() && Bolt::open(&vec![0; 8192]).is_err());
        for cut in [PAGE_HEADER, 4096 + 70, 3 * 4096 + 20] {
            let walked = Bolt::open(&whole[..cut]).map(|bolt| bolt.root().bucket(b"v1").is_err());
            assert!(
                walked.is_err() || walked.is_ok_and(|failed| failed),
                "{cut}"
            );
        }
        for place in 3 * 4096..3 * 4096 + 80 {
            let mut bytes = whole.clone();
            bytes[place] ^= 0xff;
            let bolt = Bolt::open(&bytes).unwrap();
            // Whatever comes of it.
            let _ = bolt
                .root()
                .bucket(b"v1")
                .map(|found| found.map(|bucket| bucket.each(&mut |_, _| Ok(())).is_ok()));
        }
    }
}
