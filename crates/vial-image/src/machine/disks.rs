//! The disks: made by the node image's own programs, which run where its layers lie unpacked. Nobody's rights are needed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime};

use tar::{EntryType, Header};
use vial_sys::program::Program;

use super::flatten::Flattening;
use super::{make_directory, no_machine};
use crate::digest::Digest;
use crate::disk;
use crate::error::{Error, IoContext as _, Result};
use crate::image::NodeImage;
use crate::layer::TarWriter;
use crate::store::{Store, Writer};

/// How long a program's disk is kept that nobody asks for.
pub const PROGRAM_KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Programs of a node image.
const EROFS: &str = "usr/bin/mkfs.erofs";
const EXT4: &str = "usr/sbin/mkfs.ext4";
/// Bytes on their way to one: what an unprivileged pipe may have (pipe(7), /proc/sys/fs/pipe-max-size).
const PIPE: usize = 1 << 20;
/// Same input, same bytes: no time and no random number gets in.
const REPRODUCIBLE: [&str; 4] = ["--quiet", "-T0", "--all-time", "-Uclear"];
/// What the latter asks for its defaults, which shall not be the host's (mke2fs(8)).
const EXT4_CONFIG: &str = "etc/mke2fs.conf";

/// Writes the whole root of an image as a file system: out of the layers' blobs, since what lies unpacked has owners and
/// attributes only where root unpacked it. It is not compressed: a guest would unpack it with an emulated processor, while
/// the host's page cache holds it once for all machines.
pub(super) fn root(writer: &Writer, image: &NodeImage, path: &Path) -> Result<()> {
    disk::require_free(writer.store().root(), image.size.saturating_mul(4))?;
    erofs(writer, image, path, |out| {
        let store = writer.store();
        let mut flat = Flattening::new(out, is_left_out);
        for layer in image.layers.iter().rev() {
            let title = &layer.title;
            let orphans =
                store.read_layer(&image.reference, layer, |tar| flat.layer(title, tar))?;
            if !orphans.is_empty() {
                store.read_layer(&image.reference, layer, |tar| {
                    flat.links(title, tar, &orphans)
                })?;
            }
        }
        flat.finish()
            .and_then(|mut out| out.flush())
            .at("write", path)
    })
}

/// Below a node image's root: what runs machines, not what runs in them.
fn is_left_out(path: &Path) -> bool {
    let text = path.to_string_lossy();
    ["boot/", "usr/bin/qemu-", "usr/share/qemu/"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

/// See [`Store::program_disk`].
pub(super) fn program(store: &Store, image: &NodeImage, program: &Path) -> Result<PathBuf> {
    let mut file = File::open(program).at("open", program)?;
    let (digest, size) = Digest::of_reader(&file).at("read", program)?;
    let path = store.programs().join(format!("{}.erofs", digest.hex()));
    if touch(&path) {
        return Ok(path);
    }
    let writer = store.lock()?;
    make_directory(&store.programs())?;
    file.rewind().at("read", program)?;
    erofs(&writer, image, &path, |out| {
        let mut tar = TarWriter::new(out);
        tar.file("vial", 0o755, size, file)?;
        tar.finish()
            .and_then(|mut out| out.flush())
            .at("write", &path)
    })?;
    Ok(path)
}

/// Keeps a file for another while; is it there?
pub(super) fn touch(path: &Path) -> bool {
    let file = File::options().append(true).open(path);
    file.and_then(|file| file.set_modified(SystemTime::now()))
        .is_ok()
}

/// Writes a directory of the host as a file system, in which everything is root's.
pub(super) fn directory(
    writer: &Writer,
    image: &NodeImage,
    source: &Path,
    path: &Path,
) -> Result<()> {
    let scratch = writer.scratch("directory-")?;
    let made = scratch.path().join("disk");
    let mut command = command(image, EROFS)?;
    command.args(REPRODUCIBLE).arg("--all-root");
    command.arg(&made).arg(source);
    run(command, scratch.path(), EROFS, |_| Ok(()))?;
    finish(&made, path)
}

/// Has nobody asked for it since long?
pub(super) fn is_old(path: &Path) -> bool {
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > PROGRAM_KEPT))
}

/// Makes a machine's own disk at `path`, of `bytes` (rounded down to 4 KiB), with an empty ext4 in it; left alone when it
/// is there. The file is sparse: it takes some 2 MB of the host's disk until it is written to. Blocking, for some
/// hundredths of a second.
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
    let made = scratch.path().join("disk");
    let mut command = command(image, EXT4)?;
    if let Some(config) = image.in_layers(EXT4_CONFIG) {
        command.env("MKE2FS_CONFIG", config);
    }
    command.args([
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
    ]);
    command.arg(&made).arg((bytes / 4096).to_string());
    run(command, scratch.path(), EXT4, |_| Ok(()))?;
    finish(&made, path)
}

/// Makes a read-only file system of the archive that `fill` writes.
fn erofs(
    writer: &Writer,
    image: &NodeImage,
    path: &Path,
    fill: impl FnOnce(BufWriter<ChildStdin>) -> Result<()>,
) -> Result<()> {
    let scratch = writer.scratch("machine-")?;
    let made = scratch.path().join("disk");
    let mut command = command(image, EROFS)?;
    command
        .args(REPRODUCIBLE)
        // In the order of the archive: sorted, it would pass through a second file.
        .args(["--tar=f", "--sort=none"])
        .arg(&made);
    run(command, scratch.path(), EROFS, |stdin| {
        // The kernel's own would have mkfs wait for us, and us for mkfs, sixteen times as often. As large as it may be.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE);
        let mut out = BufWriter::with_capacity(PIPE, stdin);
        out.write_all(root_entry().as_bytes()).at("write", path)?;
        fill(out)
    })?;
    finish(&made, path)
}

/// The root of an archive, which mkfs.erofs opens to everybody's writing unless it is named.
fn root_entry() -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..2].copy_from_slice(b"./");
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o755);
    for set in [
        Header::set_uid,
        Header::set_gid,
        Header::set_mtime,
        Header::set_size,
    ] {
        set(&mut header, 0);
    }
    header.set_cksum();
    header
}

/// A program of the image that has only to be told what it shall do.
fn command(image: &NodeImage, program: &str) -> Result<Command> {
    let found = Program::in_layers(&image.lower_dirs(), program);
    let missing = || {
        let named = format!("node image `{}`", image.reference);
        no_machine(named, format!("it has no /{program}"))
    };
    let mut command = found.ok_or_else(missing)?.command();
    command.env_clear();
    Ok(command)
}

/// Runs a program to its end; `fill` writes what it reads. What it says is kept in `scratch`.
fn run(
    mut command: Command,
    scratch: &Path,
    program: &str,
    fill: impl FnOnce(ChildStdin) -> Result<()>,
) -> Result<()> {
    let failed = |source: io::Error| Error::NoProgram {
        program: program.to_owned(),
        source,
    };
    let said = scratch.join("said");
    let words = File::create(&said).at("create", &said)?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(words);
    let mut child = command.spawn().map_err(failed)?;
    let stdin = child.stdin.take().expect("its standard input is a pipe");
    let filled = fill(stdin);
    let status = child.wait().map_err(failed)?;
    match filled {
        // It ended early, and says why.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(error),
        Ok(()) if status.success() => return Ok(()),
        Ok(()) => {}
    }
    let output = fs::read(&said).unwrap_or_default();
    Err(Error::Program {
        program: program.to_owned(),
        status: status.to_string(),
        output: String::from_utf8_lossy(&output).trim_end().to_owned(),
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
