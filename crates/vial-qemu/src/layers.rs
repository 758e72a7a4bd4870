//! The files of a disk: a raw one, and layers over it, each of which has what was written since the one below was frozen.
//!
//! ```text
//! data          raw             the machine writes to it until its first freeze
//! data.1        qcow2           over data, which nobody changes any more
//! data.2        qcow2           over data.1; the last one is the one that is written to
//! ```
//! They lie in one directory and name each other without it, so a copy of the disk is a directory of hard links and one
//! more layer: nothing is copied, and what lies below is shared for as long as anybody has it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A disk by the path of its lowest file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    base: PathBuf,
    /// How many are over it.
    over: u32,
}

impl Layers {
    /// The disk whose lowest file is `base`, with those layers that are there.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn of(base: &Path) -> io::Result<Self> {
        let name = base.file_name().unwrap_or_default().to_string_lossy();
        let number = |entry: fs::DirEntry| -> Option<u32> {
            let file = entry.file_name().into_string().ok()?;
            let (stem, number) = file.rsplit_once('.')?;
            number.parse().ok().filter(|_| stem == name)
        };
        let entries = fs::read_dir(base.parent().unwrap_or(Path::new(".")))?;
        let over = entries.flatten().filter_map(number).max();
        Ok(Self {
            base: base.to_owned(),
            over: over.unwrap_or(0),
        })
    }

    fn file(&self, number: u32) -> PathBuf {
        match number {
            0 => self.base.clone(),
            number => self.base.with_added_extension(number.to_string()),
        }
    }

    /// All files, the lowest first.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        (0..=self.over).map(|number| self.file(number))
    }

    /// The file that is written to.
    #[must_use]
    pub fn top(&self) -> PathBuf {
        self.file(self.over)
    }

    /// `raw` or `qcow2`, as QEMU calls them.
    #[must_use]
    pub fn format(&self) -> &'static str {
        match self.over {
            0 => "raw",
            _ => "qcow2",
        }
    }

    /// How large the guest sees it, in bytes.
    ///
    /// # Errors
    /// When the lowest file is not there.
    pub fn size(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.base)?.len())
    }

    /// Makes one more layer, which is empty: the disk reads as before, and what is there is not changed any more.
    ///
    /// The file is there for its owner only, whole or not at all.
    ///
    /// # Errors
    /// When there is no space.
    pub fn add(&self) -> io::Result<Self> {
        let more = Self {
            base: self.base.clone(),
            over: self.over + 1,
        };
        let below = self.top();
        let below = below.file_name().unwrap_or_default();
        let header = header(self.size()?, below.as_encoded_bytes(), self.format());
        let aside = more.top().with_added_extension("new");
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(true);
        let file = options.mode(0o600).open(&aside)?;
        header.write(&file)?;
        fs::rename(&aside, more.top())?;
        Ok(more)
    }
}

/// Of an empty layer: <https://www.qemu.org/docs/master/interop/qcow2.html>.
struct Header {
    first: Vec<u8>,
    refcount_table: [u8; 8],
    refcounts: Vec<u8>,
    cluster: u64,
    clusters: u64,
}

/// In clusters: the header, the table of reference counts, one block of them, then the first table of the mapping.
const TABLE: u64 = 1;
const BLOCK: u64 = 2;
const MAP: u64 = 3;

/// Small clusters: what is written to the guest's file system of 4 KiB blocks is all that is written to the layer. For
/// disks of more than a TiB the tables of so small ones would be large.
fn cluster_bits(size: u64) -> u32 {
    if size <= 1 << 40 { 12 } else { 16 }
}

fn header(size: u64, below: &[u8], format: &str) -> Header {
    let bits = cluster_bits(size);
    let cluster = 1_u64 << bits;
    // An entry of the first table stands for a second table of one cluster, which has 8 bytes for each cluster.
    let entries = size.div_ceil(cluster * (cluster / 8)).max(1);
    let clusters = MAP + (entries * 8).div_ceil(cluster);
    let mut first = Vec::new();
    // Version 3, without snapshots or encryption; what is below comes after the fixed part and its format.
    let extension = [
        &0xe279_2aca_u32.to_be_bytes()[..],
        &u32::try_from(format.len()).unwrap_or(0).to_be_bytes(),
        format.as_bytes(),
        &vec![0; format.len().next_multiple_of(8) - format.len()],
        &[0; 8],
    ]
    .concat();
    const FIXED: u64 = 104;
    let name_at = FIXED + extension.len() as u64;
    first.extend(b"QFI\xfb");
    first.extend(3_u32.to_be_bytes());
    first.extend(name_at.to_be_bytes());
    first.extend(u32::try_from(below.len()).unwrap_or(0).to_be_bytes());
    first.extend(bits.to_be_bytes());
    first.extend(size.to_be_bytes());
    first.extend(0_u32.to_be_bytes());
    first.extend(u32::try_from(entries).unwrap_or(u32::MAX).to_be_bytes());
    first.extend((MAP * cluster).to_be_bytes());
    first.extend((TABLE * cluster).to_be_bytes());
    first.extend(1_u32.to_be_bytes());
    first.extend(0_u32.to_be_bytes());
    first.extend(0_u64.to_be_bytes());
    // Incompatible features: none. Compatible: reference counts may be written late. Cleared by who does not know: none.
    first.extend(0_u64.to_be_bytes());
    first.extend(1_u64.to_be_bytes());
    first.extend(0_u64.to_be_bytes());
    // Counts of 16 bits; the length of the fixed part.
    first.extend(4_u32.to_be_bytes());
    first.extend(104_u32.to_be_bytes());
    first.extend(extension);
    first.extend(below);
    Header {
        first,
        refcount_table: (BLOCK * cluster).to_be_bytes(),
        refcounts: (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect(),
        cluster,
        clusters,
    }
}

impl Header {
    /// The tables of the mapping are a hole.
    fn write(&self, mut file: &File) -> io::Result<()> {
        file.write_all(&self.first)?;
        file.write_all_at(&self.refcount_table, TABLE * self.cluster)?;
        file.write_all_at(&self.refcounts, BLOCK * self.cluster)?;
        file.set_len(self.clusters * self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn disk(size: u64) -> (tempfile::TempDir, Layers) {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("data");
        File::create(&base).unwrap().set_len(size).unwrap();
        let layers = Layers::of(&base).unwrap();
        (directory, layers)
    }

    #[test]
    fn layers_are_found_by_their_numbers() {
        let (directory, raw) = disk(1 << 20);
        assert_eq!(
            (raw.format(), raw.top()),
            ("raw", directory.path().join("data"))
        );
        let two = raw.add().unwrap().add().unwrap();
        for other in ["data.new", "data.x", "other.7"] {
            fs::write(directory.path().join(other), "").unwrap();
        }
        assert_eq!(Layers::of(&raw.top()).unwrap(), two);
        let names: Vec<_> = two
            .files()
            .map(|file| file.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["data", "data.1", "data.2"]);
        assert_eq!(two.format(), "qcow2");
    }

    #[test]
    fn an_empty_layer_takes_next_to_nothing() {
        let (_directory, raw) = disk(20 << 30);
        let top = raw.add().unwrap().top();
        let taken = fs::metadata(top).unwrap().blocks() * 512;
        assert!(taken <= 32 << 10, "{taken}");
    }

    /// With QEMU's own eyes: sound, of the right size, over the right file.
    #[test]
    fn qemu_takes_them() {
        let Some(image) = crate::testing::qemu_img() else {
            return;
        };
        for size in [1 << 20, 20 << 30, (2 << 40) + 4096] {
            let (_directory, raw) = disk(size);
            let top = raw.add().unwrap().add().unwrap().top();
            let run = |what: &[&str]| {
                let output = image.command().args(what).arg(&top).output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{what:?} of {size}: {said}");
                String::from_utf8(output.stdout).unwrap()
            };
            assert!(run(&["check"]).contains("No errors were found"));
            let info: serde_json::Value =
                serde_json::from_str(&run(&["info", "--output=json"])).unwrap();
            assert_eq!(info["virtual-size"], size);
            assert_eq!(info["backing-filename"], "data.1");
            assert_eq!(info["backing-filename-format"], "qcow2");
        }
    }
}
