//! Disks beside those that vial-boot mounts: found by their serials, called by them, and swap.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vial_sys::mounts::{self, Flags};
use vial_sys::{During as _, SysError};

use crate::spec::MachineSpec;

const BLOCK: &str = "/sys/block";
/// Where a guest finds them by name.
const BY_ID: &str = "/dev/disk/by-id";
/// How long drivers may take to find a disk: those of SCSI and USB look in the background.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Shows the modules of a kernel that is not the image's, where they are looked for.
pub(crate) fn modules(spec: &MachineSpec) -> Result<(), SysError> {
    if !spec.own_modules {
        return Ok(());
    }
    let disk = expect("modules")?;
    let release = rustix::system::uname();
    let target = Path::new("/usr/lib/modules").join(&*release.release().to_string_lossy());
    mounts::make_directory(&target)?;
    rustix::mount::mount(&disk, &target, "erofs", Flags::RDONLY, None)
        .during(|| format!("mount {} on {}", disk.display(), target.display()))
}

/// Waits for the disks, and calls them by their names; makes swap of what is for it, anew at every start.
pub(crate) fn set_up(spec: &MachineSpec) -> Result<(), SysError> {
    if !spec.disks.is_empty() {
        mounts::make_directory(Path::new(BY_ID))?;
    }
    for name in &spec.disks {
        let link = Path::new(BY_ID).join(name);
        symlink(expect(name)?, &link).during(|| format!("link {}", link.display()))?;
    }
    if spec.swap {
        let disk = expect("swap")?;
        for program in ["/usr/sbin/mkswap", "/usr/sbin/swapon"] {
            run(Command::new(program).arg(&disk))?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<(), SysError> {
    let operation = format!("run {command:?}");
    let output = command.output().during(|| operation.clone())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(SysError::other(operation, said.trim().to_owned()))
}

/// The device of the disk with that serial.
fn expect(serial: &str) -> Result<PathBuf, SysError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let present = present(Path::new(BLOCK));
        if let Some((_, name)) = present.iter().find(|(found, _)| found == serial) {
            return Ok(Path::new("/dev").join(name));
        }
        if Instant::now() >= end {
            let present: Vec<_> = present.iter().map(|(serial, _)| serial.as_str()).collect();
            let why = format!(
                "its driver did not find it; there are {}",
                present.join(", ")
            );
            return Err(SysError::other(format!("find the disk {serial}"), why));
        }
        sleep(PAUSE);
    }
}

/// Serials and names of all disks that have a serial.
fn present(block: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(block).into_iter().flatten().flatten();
    let disks = entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        Some((serial(&entry.path())?, name))
    });
    disks.collect()
}

/// Of virtio and NVMe the kernel tells it as text, of SCSI as the page of the disk that holds it (SPC-4, 7.8.18): four
/// bytes, then the serial.
fn serial(disk: &Path) -> Option<String> {
    let text = ["serial", "device/serial"]
        .iter()
        .find_map(|file| fs::read_to_string(disk.join(file)).ok());
    let page = || {
        let page = fs::read(disk.join("device/vpd_pg80")).ok()?;
        Some(String::from_utf8_lossy(page.get(4..)?).into_owned())
    };
    let text = text.or_else(page)?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_of_every_kind_of_disk() {
        let block = tempfile::tempdir().unwrap();
        for (file, content) in [
            ("vda/serial", "root\n"),
            ("nvme0n1/device/serial", "fast                \n"),
            ("sda/device/vpd_pg80", "\0\u{80}\0\u{7}scratch"),
            ("loop0/size", "0"),
        ] {
            let path = block.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let bytes: Vec<u8> = content.chars().map(|c| u8::try_from(c).unwrap()).collect();
            fs::write(path, bytes).unwrap();
        }
        let mut present = present(block.path());
        present.sort();
        let expected = [("fast", "nvme0n1"), ("root", "vda"), ("scratch", "sda")];
        let expected = expected.map(|(serial, name)| (serial.to_owned(), name.to_owned()));
        assert_eq!(present, expected);
    }
}
