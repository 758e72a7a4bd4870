//! The machine's root: mounted below `/new` of the initramfs, then put in its place.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::mount::MountFlags;

use crate::disks::Disks;
use crate::error::{During as _, Error};

/// What is executed in the end, and how it is called.
const PROGRAM: &str = "/vial/bin/vial";
const ROLE: &str = "vial-machine";
/// What the machine is to be, in the initramfs.
const MACHINE: &str = "/machine.json";

/// Mounts, in the initramfs.
const IMAGE: &str = "/image";
const DATA: &str = "/data";
const NEW: &str = "/new";

/// proc, sysfs and devtmpfs, of the kernel's own making.
pub(crate) fn kernel_file_systems() -> Result<(), Error> {
    let usual = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", usual, "")?;
    mount("sysfs", "/sys", "sysfs", usual, "")?;
    // Before the modules: the devices of drivers appear there.
    mount(
        "devtmpfs",
        "/dev",
        "devtmpfs",
        MountFlags::NOSUID,
        "mode=0755",
    )
}

/// Puts the new root together.
pub(crate) fn build(disks: &Disks) -> Result<(), Error> {
    let (read_only, none) = (MountFlags::RDONLY, MountFlags::empty());
    mount_disk(&disks.root, IMAGE, "erofs", read_only, "")?;
    match &disks.data {
        // A machine that was switched off by force leaves a journal, which is replayed here.
        Some(disk) => mount_disk(disk, DATA, "ext4", MountFlags::NOATIME, "")?,
        None => mount("tmpfs", DATA, "tmpfs", none, "mode=0755")?,
    }
    let (upper, work) = (format!("{DATA}/root/upper"), format!("{DATA}/root/work"));
    directory(&upper)?;
    directory(&work)?;
    let layers = format!("lowerdir={IMAGE},upperdir={upper},workdir={work}");
    mount("overlay", NEW, "overlay", none, &layers)?;
    mount_disk(&disks.program, &in_new("/vial/bin"), "erofs", read_only, "")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", &in_new("/run"), "tmpfs", flags, "mode=0755")?;
    carry_over()?;
    for (from, to) in [
        (IMAGE, "/vial/image"),
        (DATA, "/vial/data"),
        ("/proc", "/proc"),
        ("/sys", "/sys"),
        ("/dev", "/dev"),
    ] {
        let to = in_new(to);
        directory(&to)?;
        rustix::mount::mount_move(from, &to).during(|| format!("move {from} to {to}"))?;
    }
    Ok(())
}

/// Brings what the machine is to be where the root's first program looks for it. It may hold secrets.
fn carry_over() -> Result<(), Error> {
    let text = fs::read(MACHINE).during(|| format!("read {MACHINE}"))?;
    directory(&in_new("/run/vial"))?;
    let path = in_new("/run/vial/machine.json");
    let operation = || format!("write {path}");
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&path).during(operation)?;
    std::io::Write::write_all(&mut file, &text).during(operation)
}

/// Makes it the root (switch_root(8)): the initramfs cannot be unmounted (kernel: ramfs-rootfs-initramfs.rst), so its
/// files are removed, and the new root is mounted over it.
pub(crate) fn switch() -> Result<(), Error> {
    // Memory that is not freed would be missed by nobody; nothing else depends on it.
    for path in ["/modules", "/init", MACHINE] {
        let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    }
    let operation = || "switch to the new root".to_owned();
    rustix::process::chdir(NEW).during(operation)?;
    rustix::mount::mount_move(".", "/").during(operation)?;
    rustix::process::chroot(".").during(operation)?;
    rustix::process::chdir("/").during(operation)
}

/// Becomes the first program of the new root. Returns only when it cannot.
pub(crate) fn exec() -> Error {
    let failed = Command::new(PROGRAM).arg0(ROLE).env_clear().exec();
    Error::new(format!("execute {PROGRAM}"), failed)
}

fn in_new(path: &str) -> String {
    format!("{NEW}{path}")
}

fn directory(path: &str) -> Result<(), Error> {
    let mut directory = DirBuilder::new();
    directory.recursive(true).mode(0o755);
    directory
        .create(path)
        .during(|| format!("make the directory {path}"))
}

fn mount_disk(
    disk: &Path,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), Error> {
    mount(&disk.to_string_lossy(), target, kind, flags, options)
}

fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), Error> {
    directory(target)?;
    let data = std::ffi::CString::new(options);
    let data = data.during(|| format!("mount {source}"))?;
    rustix::mount::mount(source, target, kind, flags, data.as_c_str())
        .during(|| format!("mount {kind} {source} on {target}"))
}
