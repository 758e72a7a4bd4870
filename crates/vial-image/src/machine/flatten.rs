//! All layers of a node image as one archive, out of their blobs: what is in them as it was made, whoever unpacked them.
//!
//! Layers are read from the topmost to the lowest, once each, and what is above decides what is still seen (OCI image spec,
//! "Image Layer Filesystem Changeset"):
//!
//! | above | hides of the layers below |
//! |---|---|
//! | anything but a directory, or `.wh.NAME` | that name, and all below it |
//! | a directory | what is no directory there; of one that is, mode and owner |
//! | `.wh..wh..opq` in a directory | all below that directory |
//!
//! Below the containerd root of the image such marks are snapshots' own: they become those of overlayfs, a character device
//! 0:0 and an attribute.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tar::{Archive, Builder, Entry, EntryType, Header};

use crate::error::{Error, IoContext as _, Result};
use crate::image::NodeImage;
use crate::layer::{OPAQUE, safe_name};

/// What is at a path of the layers that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Something that hides what is below: a file, a mark.
    Other,
    /// A directory that only the names of what is in it mention.
    Implied,
    /// A directory.
    Directory,
    /// The same, and what the layers below have in it is hidden.
    Opaque,
}

/// An archive of several layers in the making.
pub(super) struct Flattening<W: Write> {
    out: Builder<W>,
    /// By the layers above the one that is read.
    above: HashMap<PathBuf, Seen>,
    /// The directory that was added last: a mark that it is opaque follows it.
    directory: Option<(PathBuf, Header)>,
    left_out: fn(&Path) -> bool,
}

impl<W: Write> Flattening<W> {
    /// An empty archive. Nothing that is `left_out` gets in.
    pub(super) fn new(out: W, left_out: fn(&Path) -> bool) -> Self {
        Self {
            out: Builder::new(out),
            above: HashMap::new(),
            directory: None,
            left_out,
        }
    }

    /// Adds the layer below those that were added. Returns the files that are hidden, though other names of theirs in
    /// this layer are not: these have to be added by [`Self::links`], from the same layer.
    pub(super) fn layer(&mut self, title: &str, reader: impl Read) -> Result<Orphans> {
        let mut own = HashMap::new();
        let mut orphans = Orphans::default();
        each(title, reader, |name, entry| {
            // The root is everybody's own.
            if name.as_os_str().is_empty() {
                return Ok(());
            }
            if let Some((hidden, parent)) = mark(&name) {
                return self.mark(&name, hidden, parent, &mut own);
            }
            for parent in name.ancestors().skip(1) {
                own.entry(parent.to_path_buf()).or_insert(Seen::Implied);
            }
            let kind = entry.header().entry_type();
            let seen = if kind.is_dir() {
                Seen::Directory
            } else {
                Seen::Other
            };
            // An opaque directory stays one.
            let before = own.entry(name.clone()).or_insert(seen);
            if *before != Seen::Opaque {
                *before = seen;
            }
            if (self.left_out)(&name) || self.hidden(&name, kind.is_dir()) {
                return Ok(());
            }
            if kind == EntryType::Link {
                let target = target_of(title, entry)?;
                if self.hidden(&target, false) || (self.left_out)(&target) {
                    orphans.0.entry(target).or_default().push(name);
                    return Ok(());
                }
            }
            self.copy(&name, entry)
        })?;
        for (path, seen) in own {
            let known = self.above.entry(path).or_insert(seen);
            *known = merged(*known, seen);
        }
        Ok(orphans)
    }

    /// Adds the contents of hidden files under the names of theirs that are seen.
    pub(super) fn links(
        &mut self,
        title: &str,
        reader: impl Read,
        orphans: &Orphans,
    ) -> Result<()> {
        each(title, reader, |name, entry| {
            let Some((first, more)) = orphans.0.get(&name).and_then(|names| names.split_first())
            else {
                return Ok(());
            };
            self.copy(first, entry)?;
            for name in more {
                let mut header = entry.header().clone();
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                let linked = self.out.append_link(&mut header, name, first);
                linked.at("archive", name)?;
            }
            Ok(())
        })
    }

    /// Ends the archive.
    pub(super) fn finish(self) -> std::io::Result<W> {
        self.out.into_inner()
    }

    /// Do the layers above hide it?
    fn hidden(&self, name: &Path, directory: bool) -> bool {
        let by_itself = match self.above.get(name) {
            None => false,
            Some(Seen::Implied) => !directory,
            Some(_) => true,
        };
        let covers = |parent: &Path| {
            let seen = self.above.get(parent);
            matches!(seen, Some(Seen::Other | Seen::Opaque))
        };
        by_itself || name.ancestors().skip(1).any(covers)
    }

    /// A mark at `parent`, about `hidden` in it; without, about all that is in it.
    fn mark(
        &mut self,
        name: &Path,
        hidden: Option<PathBuf>,
        parent: PathBuf,
        own: &mut HashMap<PathBuf, Seen>,
    ) -> Result<()> {
        if !parent.starts_with(NodeImage::CONTAINERD_ROOT) {
            match hidden {
                Some(hidden) => own.entry(hidden).or_insert(Seen::Other),
                None => own.entry(parent).insert_entry(Seen::Opaque).into_mut(),
            };
            return Ok(());
        }
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_size(0);
        match hidden {
            Some(hidden) if !self.hidden(&hidden, false) => {
                header.set_entry_type(EntryType::Char);
                header.set_mode(0);
                header.set_device_major(0).at("archive", name)?;
                header.set_device_minor(0).at("archive", name)?;
                let added = self.out.append_data(&mut header, &hidden, std::io::empty());
                added.at("archive", name)?;
                own.insert(hidden, Seen::Other);
            }
            Some(_) => {}
            // The directory again, with the attribute: the last one of a name wins.
            None if !self.hidden(&parent, true) => {
                match self.directory.take() {
                    Some((path, own)) if path == parent => header = own,
                    _ => {
                        header.set_entry_type(EntryType::Directory);
                        header.set_mode(0o755);
                    }
                }
                let key = format!("SCHILY.xattr.{OPAQUE}");
                let attribute = [(key.as_str(), &b"y"[..])];
                self.out
                    .append_pax_extensions(attribute)
                    .and_then(|()| self.out.append_data(&mut header, &parent, std::io::empty()))
                    .at("archive", name)?;
            }
            None => {}
        }
        Ok(())
    }

    /// An entry as it is, under that name.
    fn copy<R: Read>(&mut self, name: &Path, entry: &mut Entry<'_, R>) -> Result<()> {
        let mut attributes = Vec::new();
        let extensions = entry.pax_extensions().at("read", name)?;
        for extension in extensions.into_iter().flatten().flatten() {
            if let Ok(key) = extension.key()
                && key.starts_with("SCHILY.xattr.")
            {
                attributes.push((key.to_owned(), extension.value_bytes().to_vec()));
            }
        }
        let attributes = attributes.iter();
        let attributes = attributes.map(|(key, value)| (key.as_str(), &value[..]));
        self.out
            .append_pax_extensions(attributes)
            .at("archive", name)?;
        let mut header = entry.header().clone();
        let kind = header.entry_type();
        let added = if matches!(kind, EntryType::Link | EntryType::Symlink) {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = if kind == EntryType::Link {
                target_of("a layer", entry)?
            } else {
                PathBuf::from(OsStr::from_bytes(&target))
            };
            self.out.append_link(&mut header, name, target)
        } else {
            if kind.is_gnu_sparse() {
                header.set_entry_type(EntryType::Regular);
            }
            header.set_size(entry.size());
            if kind.is_dir() {
                self.directory = Some((name.to_path_buf(), header.clone()));
            }
            self.out.append_data(&mut header, name, entry)
        };
        added.at("archive", name)
    }
}

/// Hidden files of a layer, and which other names of theirs are seen.
#[derive(Debug, Default)]
pub(super) struct Orphans(HashMap<PathBuf, Vec<PathBuf>>);

impl Orphans {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a path is, as a layer above and one below have it.
fn merged(above: Seen, below: Seen) -> Seen {
    match (above, below) {
        (Seen::Implied, Seen::Other) => Seen::Implied,
        (Seen::Implied, below) => below,
        (Seen::Directory, Seen::Opaque) => Seen::Opaque,
        (above, _) => above,
    }
}

/// Goes through an archive.
fn each<R: Read>(
    title: &str,
    reader: R,
    mut with: impl FnMut(PathBuf, &mut Entry<'_, R>) -> Result<()>,
) -> Result<()> {
    let bad = |error: &std::io::Error| bad(title, vial_sys::error_chain(error));
    let mut archive = Archive::new(reader);
    for entry in archive.entries().map_err(|error| bad(&error))? {
        let mut entry = entry.map_err(|error| bad(&error))?;
        let name = safe_name(&entry);
        let name = name.ok_or_else(|| self::bad(title, "a name leads out of it".into()))?;
        with(name, &mut entry)?;
    }
    Ok(())
}

/// What `.wh.NAME` hides and in which directory; `None` for what is no mark.
fn mark(name: &Path) -> Option<(Option<PathBuf>, PathBuf)> {
    let hidden = name.file_name()?.as_bytes().strip_prefix(b".wh.")?;
    let parent = name.parent().unwrap_or(Path::new("")).to_path_buf();
    let hidden = (hidden != b".wh..opq").then(|| parent.join(OsStr::from_bytes(hidden)));
    Some((hidden, parent))
}

fn target_of<R: Read>(title: &str, entry: &Entry<'_, R>) -> Result<PathBuf> {
    let target = entry.link_name().ok().flatten();
    let clean = target.as_deref().and_then(crate::layer::clean);
    clean.ok_or_else(|| bad(title, "a link leads out of it".into()))
}

fn bad(title: &str, reason: String) -> Error {
    Error::BadArchive {
        archive: title.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A layer: names that end with a slash are directories, `a=b` is a link to b, `a:x` a file with x in it.
    fn layer(entries: &[&str]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for entry in entries {
            let mut header = Header::new_gnu();
            header.set_mode(0o640);
            header.set_uid(7);
            header.set_gid(8);
            header.set_mtime(0);
            header.set_size(0);
            if let Some((name, target)) = entry.split_once('=') {
                header.set_entry_type(EntryType::Link);
                builder.append_link(&mut header, name, target).unwrap();
            } else if entry.ends_with('/') {
                header.set_entry_type(EntryType::Directory);
                builder
                    .append_data(&mut header, entry, std::io::empty())
                    .unwrap();
            } else {
                let (name, content) = entry.split_once(':').unwrap_or((entry, ""));
                header.set_size(content.len() as u64);
                builder
                    .append_data(&mut header, name, content.as_bytes())
                    .unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    /// What is seen of layers, the topmost first: path and content, of links what they lead to.
    fn seen(layers: &[&[&str]]) -> Vec<String> {
        let mut flat = Flattening::new(Vec::new(), |name| name.starts_with("boot"));
        for entries in layers {
            let bytes = layer(entries);
            let orphans = flat.layer("test", &bytes[..]).unwrap();
            flat.links("test", &bytes[..], &orphans).unwrap();
        }
        let bytes = flat.finish().unwrap();
        let mut found = BTreeMap::new();
        each("test", &bytes[..], |name, entry| {
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let name = name.display().to_string();
            let shown = match entry.header().entry_type() {
                EntryType::Directory => format!("{name}/"),
                EntryType::Link => {
                    format!("{name}={}", target_of("test", entry)?.display())
                }
                EntryType::Char => format!("{name} 0:0"),
                _ => format!("{name}:{content}"),
            };
            found.insert(name, shown);
            Ok(())
        })
        .unwrap();
        found.into_values().collect()
    }

    #[test]
    fn what_is_above_wins_and_directories_are_one() {
        let found = seen(&[
            &["etc/", "etc/hosts:new", "var:file"],
            &[
                "etc/hosts:old",
                "etc/passwd:x",
                "var/",
                "var/log:hidden",
                "boot/vmlinuz:x",
            ],
        ]);
        assert_eq!(found, ["etc/", "etc/hosts:new", "etc/passwd:x", "var:file"]);
    }

    #[test]
    fn marks_hide_what_is_below_them_only() {
        let found = seen(&[
            &["a/.wh.gone", "b/", "b/.wh..wh..opq", "b/mine:1"],
            &["a/gone/", "a/gone/x:1", "a/kept:1", "b/theirs:1", "gone:1"],
        ]);
        assert_eq!(found, ["a/kept:1", "b/", "b/mine:1", "gone:1"]);
    }

    #[test]
    fn a_directory_that_was_only_implied_gets_its_own_mode_from_below() {
        let found = seen(&[&["etc/new:1"], &["etc/", "etc/old:1"]]);
        assert_eq!(found, ["etc/", "etc/new:1", "etc/old:1"]);
        // And hides a file of its name.
        assert_eq!(seen(&[&["etc/new:1"], &["etc:file"]]), ["etc/new:1"]);
    }

    #[test]
    fn links_survive_the_file_that_they_are_links_to() {
        let found = seen(&[&["a:new"], &["a:old", "b=a", "c=a"]]);
        assert_eq!(found, ["a:new", "b:old", "c=b"]);
        assert_eq!(seen(&[&[], &["a:1", "b=a"]]), ["a:1", "b=a"]);
    }

    #[test]
    fn marks_of_snapshots_are_kept_as_those_of_overlayfs() {
        let root = NodeImage::CONTAINERD_ROOT;
        let names = [
            format!("{root}/1/fs/.wh.gone"),
            format!("{root}/1/fs/d/"),
            format!("{root}/1/fs/d/.wh..wh..opq"),
            format!("{root}/1/fs/d/kept:1"),
        ];
        let found = seen(&[&names.each_ref().map(String::as_str)]);
        let expected = ["d/", "d/kept:1", "gone 0:0"];
        assert_eq!(found, expected.map(|name| format!("{root}/1/fs/{name}")));
    }

    #[test]
    fn owners_modes_and_attributes_pass() {
        let mut builder = Builder::new(Vec::new());
        let key = "SCHILY.xattr.security.capability";
        builder
            .append_pax_extensions([(key, &b"\x01"[..])])
            .unwrap();
        builder
            .append(
                &{
                    let mut header = Header::new_gnu();
                    header.set_path("ping").unwrap();
                    header.set_mode(0o4755);
                    header.set_uid(7);
                    header.set_gid(8);
                    header.set_size(0);
                    header.set_cksum();
                    header
                },
                std::io::empty(),
            )
            .unwrap();
        let bytes = builder.into_inner().unwrap();
        let mut flat = Flattening::new(Vec::new(), |_| false);
        flat.layer("test", &bytes[..]).unwrap();
        let bytes = flat.finish().unwrap();
        let mut archive = Archive::new(&bytes[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let header = entry.header().clone();
        let numbers = (
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
        );
        assert_eq!(numbers, (0o4755, 7, 8));
        let extension = entry.pax_extensions().unwrap().unwrap().next().unwrap();
        assert_eq!(extension.unwrap().key().unwrap(), key);
    }
}
