//! The disks: made by the node image's own programs, run in its root and namespaces of their own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use vial_sys::chroot::Chroot;

use super::make_directory;
use crate::digest::Digest;
use crate::disk;
use crate::error::{Error, IoContext as _, Result};
use crate::image::NodeImage;
use crate::store::{Store, Writer};

/// How long a program's disk is kept that nobody asks for.
pub const PROGRAM_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Programs of a node image.
const EROFS: &str = "/usr/bin/mkfs.erofs";
const EXT4: &str = "/usr/sbin/mkfs.ext4";
/// Same input, same bytes: no time and no random number gets in.
const REPRODUCIBLE: [&str; 3] = ["-T0", "--all-time", "-Uclear"];
/// Below a node image's root, as a regular expression: what runs machines, not what runs in them.
const LEFT_OUT: &str = "^(boot/|usr/bin/qemu-|usr/share/qemu/)";

/// Writes the whole root of an image as a file system. It is not compressed: a guest would unpack it with an emulated
/// processor, while the host's page cache holds it once for all machines.
pub(super) fn root(writer: &Writer, image: &NodeImage, path: &Path) -> Result<()> {
    let scratch = writer.scratch("machine-")?;
    let place = Place::new(scratch.path(), image)?;
    // Seen through an overlay, the marks that snapshots have for overlays of their own would be taken as its own.
    let mut chroot = place.chroot.show(&place.mount, "image");
    let containerd = image.containerd_root();
    if containerd.is_dir() {
        chroot = chroot.show(containerd, format!("image/{}", NodeImage::CONTAINERD_ROOT));
    }
    let left_out = format!("--exclude-regex={LEFT_OUT}");
    let mut arguments = REPRODUCIBLE.to_vec();
    arguments.extend([left_out.as_str(), "/run/out/disk", "/run/image"]);
    run(&chroot, EROFS, &arguments)?;
    finish(&place.made, path)
}

/// See [`Store::program_disk`].
pub(super) fn program(store: &Store, image: &NodeImage, program: &Path) -> Result<PathBuf> {
    let (digest, _) = File::open(program)
        .and_then(Digest::of_reader)
        .at("read", program)?;
    let path = store.programs().join(format!("{}.erofs", digest.hex()));
    if touch(&path) {
        return Ok(path);
    }
    let writer = store.lock()?;
    make_directory(&store.programs())?;
    let scratch = writer.scratch("program-")?;
    let source = scratch.path().join("source");
    fs::create_dir(&source).at("create", &source)?;
    let copy = source.join("vial");
    if fs::hard_link(program, &copy).is_err() {
        fs::copy(program, &copy).at("copy", program)?;
    }
    directory(&writer, image, &source, &path)?;
    Ok(path)
}

/// Keeps a file for another while; is it there?
pub(super) fn touch(path: &Path) -> bool {
    let file = File::options().append(true).open(path);
    file.and_then(|file| file.set_modified(SystemTime::now()))
        .is_ok()
}

/// Writes a directory of the host as a file system.
pub(super) fn directory(
    writer: &Writer,
    image: &NodeImage,
    source: &Path,
    path: &Path,
) -> Result<()> {
    let scratch = writer.scratch("directory-")?;
    let place = Place::new(scratch.path(), image)?;
    let chroot = place.chroot.show(source, "source");
    let mut arguments = REPRODUCIBLE.to_vec();
    arguments.extend(["/run/out/disk", "/run/source"]);
    run(&chroot, EROFS, &arguments)?;
    finish(&place.made, path)
}

/// Has nobody asked for it since long?
pub(super) fn is_old(path: &Path) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > PROGRAM_KEPT))
}

/// Makes a machine's own disk at `path`, of `bytes` (rounded down to 4 KiB), with an empty ext4 in it; left alone when it
/// is there. The file is sparse: it takes some 2 MB of the host's disk until it is written to. Blocking, for some
/// hundredths of a second; needs root.
///
/// # Errors
/// When `bytes` are too few for a file system, or there is no space.
pub fn data_disk(image: &NodeImage, path: &Path, bytes: u64) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let directory = disk::directory_of(path);
    fs::create_dir_all(directory).at("create", directory)?;
    let scratch = tempfile::Builder::new()
        .prefix(".tmp-disk-")
        .tempdir_in(directory)
        .at("create a directory in", directory)?;
    let place = Place::new(scratch.path(), image)?;
    let blocks = (bytes / 4096).to_string();
    let arguments = [
        "-q",
        "-F",
        // The file is new, so all of it reads as zeros: neither mkfs nor the guest has to write them (mke2fs(8)).
        "-E",
        "assume_storage_prezeroed=1,nodiscard",
        "-O",
        "^resize_inode",
        // Nothing is kept back for root: there is nobody else.
        "-m0",
        "-b4096",
        "/run/out/disk",
        &blocks,
    ];
    run(&place.chroot, EXT4, &arguments)?;
    finish(&place.made, path)
}

/// Where programs of an image run, and leave what they make.
struct Place {
    chroot: Chroot,
    mount: PathBuf,
    made: PathBuf,
}

impl Place {
    fn new(scratch: &Path, image: &NodeImage) -> Result<Self> {
        let (mount, out) = (scratch.join("root"), scratch.join("out"));
        for path in [&mount, &out] {
            fs::create_dir(path).at("create", path)?;
        }
        Ok(Self {
            chroot: Chroot::layers(&mount, image.lower_dirs()).lend(&out, "out"),
            mount,
            made: out.join("disk"),
        })
    }
}

fn run(chroot: &Chroot, program: &str, arguments: &[&str]) -> Result<()> {
    let failed = |source: std::io::Error| Error::NoProgram {
        program: program.to_owned(),
        source,
    };
    let command = chroot.command(program);
    let mut command = command.map_err(|error| failed(error.source))?;
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .args(arguments)
        .stdin(Stdio::null());
    let output = command.output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        program: format!("{program} {}", arguments.join(" ")),
        status: output.status.to_string(),
        output: String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned(),
    })
}

/// Puts a made disk at its place.
fn finish(made: &Path, path: &Path) -> Result<()> {
    File::open(made)
        .and_then(|file| file.sync_all())
        .at("sync", made)?;
    fs::rename(made, path).at("rename to", path)?;
    disk::sync_directory(disk::directory_of(path))
}
