//! The files of an archive or a layout, by path, whatever they come in.
//!
//! ```text
//! directory ─────────────────────────────► Dir       read where they are
//! file, a plain tar ──► its headers ─────► Tar       read where they are, out of the one file
//! file, compressed; a pipe ──────────────► Spooled   passed once: every file of it is put aside, digested on the way
//! ```
//!
//! Nothing of an archive becomes a path of the host: names are keys of a map. Those that lead out of the archive are
//! left out, and links are followed inside of it only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use tar::{Archive, EntryType};

use super::engine::Export;
use super::{LoadError, Meter, Result, Source};
use crate::digest::{Digest, HashingReader};
use crate::error::IoContext as _;

/// The most that an index, a manifest or a config may have: containerd's own limit is 8 MiB.
const SMALL: u64 = 8 << 20;
/// How many links may lead to a file.
const LINKS: usize = 8;
/// The most files of an archive: an image has a handful, a layout of many images some thousands.
const ENTRIES: usize = 1_000_000;

/// The files of one archive.
pub(crate) struct Pieces {
    /// For messages.
    name: String,
    kind: Kind,
}

enum Kind {
    Dir(PathBuf),
    Tar {
        file: Arc<File>,
        entries: BTreeMap<PathBuf, Entry<Span>>,
    },
    Spooled {
        /// Holds the files of the entries.
        _dir: tempfile::TempDir,
        entries: BTreeMap<PathBuf, Entry<Spool>>,
    },
}

/// What an archive has at a path.
enum Entry<T> {
    File(T),
    /// Another path of the archive.
    Link(PathBuf),
}

/// Where a file lies in the archive.
#[derive(Clone, Copy)]
struct Span {
    offset: u64,
    size: u64,
}

/// A file that was put aside.
#[derive(Clone)]
pub(super) struct Spool {
    pub(super) path: PathBuf,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Pieces {
    /// Opens what is to be loaded; `scratch` takes the files of a stream.
    pub(crate) fn open(source: &Source, scratch: tempfile::TempDir, meter: &Meter) -> Result<Self> {
        let name = source.to_string();
        let path = match source {
            Source::Stdin => {
                let stdin = io::stdin().as_fd().try_clone_to_owned();
                let stdin = File::from(stdin.at("open", &name)?);
                return Self::stream(name, meter.waiting(stdin), scratch, meter);
            }
            Source::Engine(image) => {
                let mut export = Export::open(image, meter)?;
                let pieces = Self::stream(export.name(), &mut export, scratch, meter);
                return export.end(pieces);
            }
            Source::Path(path) => path,
        };
        let metadata = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoadError::Missing { path: name });
            }
            metadata => metadata.at("read", path)?,
        };
        if metadata.is_dir() {
            let kind = Kind::Dir(path.clone());
            return Ok(Self { name, kind });
        }
        let file = File::open(path).at("open", path)?;
        let mut magic = [0; 6];
        let plain = metadata.is_file() && {
            let n = file.read_at(&mut magic, 0).at("read", path)?;
            Compression::of(&magic[..n]).is_none()
        };
        if !plain {
            meter.expect(if metadata.is_file() {
                metadata.len()
            } else {
                0
            });
            return Self::stream(name, file, scratch, meter);
        }
        let entries = headers(&name, &file, metadata.len())?;
        let kind = Kind::Tar {
            file: Arc::new(file),
            entries,
        };
        Ok(Self { name, kind })
    }

    /// Puts the files of a stream aside.
    fn stream(
        name: String,
        reader: impl Read,
        scratch: tempfile::TempDir,
        meter: &Meter,
    ) -> Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 20, meter.reading(reader));
        let magic = peek(&mut reader).map_err(|error| damaged(&name, &error))?;
        let mut reader = match Compression::of(&magic) {
            None => Box::new(reader) as Box<dyn Read>,
            Some(compression) => compression
                .open(reader)
                .map_err(|error| damaged(&name, &error))?,
        };
        let mut entries = BTreeMap::new();
        let mut archive = Archive::new(&mut reader);
        let listed = archive.entries().map_err(|error| damaged(&name, &error))?;
        for (number, entry) in listed.enumerate() {
            let mut entry = entry.map_err(|error| broken(&name, number, &error))?;
            let Some((path, link)) = place(&name, number, &entry)? else {
                continue;
            };
            let value = match link {
                Some(target) => Entry::Link(target),
                None => Entry::File(spool(&name, &mut entry, scratch.path(), number)?),
            };
            entries.insert(path, value);
        }
        // A compressed stream has a checksum at its end; a pipe's writer should not be cut off.
        io::copy(&mut reader, &mut io::sink()).map_err(|error| damaged(&name, &error))?;
        if entries.is_empty() {
            return Err(LoadError::NotImages {
                archive: name,
                reason: "it is empty".into(),
            });
        }
        let kind = Kind::Spooled {
            _dir: scratch,
            entries,
        };
        Ok(Self { name, kind })
    }

    /// What the archive is called in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// An error that says what is wrong with the archive.
    pub(crate) fn damaged(&self, reason: impl Into<String>) -> LoadError {
        LoadError::Damaged {
            archive: self.name.clone(),
            reason: reason.into(),
        }
    }

    /// A small file, whole; `None` when there is none.
    pub(crate) fn small(&self, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>> {
        let path = path.as_ref();
        let Some((reader, size)) = self.reader(path)? else {
            return Ok(None);
        };
        if size > SMALL {
            return Err(self.damaged(format!("`{}` has {size} bytes", path.display())));
        }
        let mut bytes = Vec::new();
        reader
            .take(SMALL)
            .read_to_end(&mut bytes)
            .at("read", path)?;
        Ok(Some(bytes))
    }

    /// A small file of JSON; `None` when there is none.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<Option<T>> {
        let path = path.as_ref();
        let Some(bytes) = self.small(path)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| self.damaged(format!("`{}`: {error}", path.display())))?;
        Ok(Some(value))
    }

    /// The content of a file and its length in bytes; `None` when there is none.
    pub(crate) fn reader(&self, path: &Path) -> Result<Option<(Box<dyn Read + Send>, u64)>> {
        let found: (Box<dyn Read + Send>, u64) = match &self.kind {
            Kind::Dir(root) => {
                let path = root.join(path);
                let file = match File::open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    file => file.at("open", &path)?,
                };
                let metadata = file.metadata().at("read", &path)?;
                if !metadata.is_file() {
                    return Ok(None);
                }
                (Box::new(file), metadata.len())
            }
            Kind::Tar { file, entries } => {
                let Some(span) = resolve(entries, path) else {
                    return Ok(None);
                };
                let window = Window {
                    file: Arc::clone(file),
                    at: span.offset,
                    left: span.size,
                };
                (Box::new(window), span.size)
            }
            Kind::Spooled { entries, .. } => {
                let Some(spool) = resolve(entries, path) else {
                    return Ok(None);
                };
                let file = File::open(&spool.path).at("open", &spool.path)?;
                (Box::new(file), spool.size)
            }
        };
        Ok(Some(found))
    }

    /// The file at `path` if it was put aside already.
    pub(super) fn spooled(&self, path: &Path) -> Option<Spool> {
        match &self.kind {
            Kind::Spooled { entries, .. } => resolve(entries, path).cloned(),
            _ => None,
        }
    }
}

/// Follows links inside the archive.
fn resolve<'a, T>(entries: &'a BTreeMap<PathBuf, Entry<T>>, path: &Path) -> Option<&'a T> {
    let mut path = path;
    for _ in 0..LINKS {
        match entries.get(path)? {
            Entry::File(file) => return Some(file),
            Entry::Link(target) => path = target,
        }
    }
    None
}

/// Where everything lies in a plain archive.
fn headers(name: &str, file: &File, length: u64) -> Result<BTreeMap<PathBuf, Entry<Span>>> {
    if length == 0 {
        return Err(LoadError::NotImages {
            archive: name.to_owned(),
            reason: "it is empty".into(),
        });
    }
    let mut entries = BTreeMap::new();
    let mut archive = Archive::new(BufReader::new(file));
    let listed = archive
        .entries_with_seek()
        .map_err(|error| damaged(name, &error))?;
    for (number, entry) in listed.enumerate() {
        let entry = entry.map_err(|error| broken(name, number, &error))?;
        let Some((path, link)) = place(name, number, &entry)? else {
            continue;
        };
        let span = Span {
            offset: entry.raw_file_position(),
            size: entry.size(),
        };
        if span.offset.saturating_add(span.size) > length {
            return Err(cut(name));
        }
        entries.insert(path, link.map_or(Entry::File(span), Entry::Link));
    }
    if entries.is_empty() {
        return Err(LoadError::NotImages {
            archive: name.to_owned(),
            reason: "it is no archive, or an empty one".into(),
        });
    }
    Ok(entries)
}

/// The path of an entry and where it links to; `None` for what no image needs.
fn place<R: Read>(
    name: &str,
    number: usize,
    entry: &tar::Entry<'_, R>,
) -> Result<Option<(PathBuf, Option<PathBuf>)>> {
    if number >= ENTRIES {
        return Err(LoadError::Damaged {
            archive: name.to_owned(),
            reason: format!("it has more than {ENTRIES} entries"),
        });
    }
    let kind = entry.header().entry_type();
    let path = entry.path().ok().and_then(|path| inside("", &path));
    let Some(path) = path else { return Ok(None) };
    let link = || entry.link_name().ok().flatten();
    let target = match kind {
        EntryType::Regular | EntryType::Continuous => return Ok(Some((path, None))),
        EntryType::Link => link().and_then(|target| inside("", &target)),
        EntryType::Symlink => {
            let from = path.parent().unwrap_or(Path::new(""));
            link().and_then(|target| inside(from, &target))
        }
        _ => None,
    };
    Ok(target.map(|target| (path, Some(target))))
}

/// A path of the archive, cleaned; `None` when it leads out.
fn inside(from: impl AsRef<Path>, path: &Path) -> Option<PathBuf> {
    let mut clean = from.as_ref().to_path_buf();
    for part in path.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            Component::RootDir => clean.clear(),
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::Prefix(_) => return None,
        }
    }
    (!clean.as_os_str().is_empty()).then_some(clean)
}

/// Writes an entry of a stream to a file of its own.
fn spool(name: &str, entry: &mut impl Read, scratch: &Path, number: usize) -> Result<Spool> {
    let path = scratch.join(number.to_string());
    let mut file = File::create(&path).at("create", &path)?;
    let mut reader = HashingReader::new(entry);
    let mut buffer = vec![0; 1 << 20];
    loop {
        // Which of the two ends failed makes all the difference to a person.
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(name, &error)),
        };
        io::Write::write_all(&mut file, &buffer[..n]).at("write", &path)?;
    }
    let (digest, size) = reader.finish();
    Ok(Spool { path, digest, size })
}

/// A part of a file, read without moving anybody's position.
struct Window {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buffer[..want], self.at)?;
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// How a file is compressed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Xz,
}

impl Compression {
    /// `None`: not in a way that vial knows.
    pub(super) fn of(magic: &[u8]) -> Option<Self> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }

    pub(super) fn open<'a>(self, reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Self::Zstd => Box::new(zstd::Decoder::new(reader)?),
            Self::Xz => Box::new(xz2::read::XzDecoder::new_multi_decoder(reader)),
        })
    }
}

/// The first bytes of a stream, which stay in it.
pub(super) fn peek(reader: &mut BufReader<impl Read>) -> io::Result<Vec<u8>> {
    use std::io::BufRead as _;
    let buffer = reader.fill_buf()?;
    Ok(buffer[..buffer.len().min(6)].to_vec())
}

fn cut(name: &str) -> LoadError {
    LoadError::Damaged {
        archive: name.to_owned(),
        reason: "it was cut short".into(),
    }
}

/// The first entry of something that is no archive is unreadable; a later one is damage.
fn broken(name: &str, number: usize, error: &io::Error) -> LoadError {
    if number > 0 || error.kind() == io::ErrorKind::UnexpectedEof {
        return damaged(name, error);
    }
    LoadError::NotImages {
        archive: name.to_owned(),
        reason: "it is no archive".into(),
    }
}

fn damaged(name: &str, error: &io::Error) -> LoadError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return cut(name);
    }
    LoadError::Damaged {
        archive: name.to_owned(),
        reason: vial_sys::error_chain(error),
    }
}
