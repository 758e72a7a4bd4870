//! The machine's disks, found by their serials: the order in which the kernel names them depends on the machine's shape.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{During as _, Error};

/// The node image.
const ROOT: &str = "root";
/// The program.
const PROGRAM: &str = "vial";
/// The machine's own.
const DATA: &str = "data";
/// How long a disk may take to appear. Drivers look for theirs while they are loaded, so it is there at once, or never.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Device files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disks {
    /// erofs.
    pub(crate) root: PathBuf,
    /// erofs.
    pub(crate) program: PathBuf,
    /// ext4; `None`: in memory.
    pub(crate) data: Option<PathBuf>,
}

impl Disks {
    /// Waits for those that every machine has.
    pub(crate) fn find() -> Result<Self, Error> {
        let end = Instant::now() + PATIENCE;
        loop {
            match Self::present(Path::new("/sys/block")) {
                Err(_) if Instant::now() < end => sleep(PAUSE),
                found => return found,
            }
        }
    }

    fn present(block: &Path) -> Result<Self, Error> {
        let all = serials(block)?;
        let find = |serial: &str| {
            let found = all.iter().find(|(found, _)| found == serial);
            found.map(|(_, name)| Path::new("/dev").join(name))
        };
        let expect = |serial: &str| {
            find(serial).ok_or_else(|| {
                let there: Vec<_> = all
                    .iter()
                    .map(|(serial, name)| format!("{name} is `{serial}`"))
                    .collect();
                let there = match there.is_empty() {
                    true => "there is none with a serial".to_owned(),
                    false => there.join(", "),
                };
                Error::new(
                    format!("find the disk `{serial}`"),
                    io::Error::new(io::ErrorKind::NotFound, there),
                )
            })
        };
        Ok(Self {
            root: expect(ROOT)?,
            program: expect(PROGRAM)?,
            data: find(DATA),
        })
    }
}

/// Serials and names of the disks that have a serial.
fn serials(block: &Path) -> Result<Vec<(String, String)>, Error> {
    let operation = || format!("list {}", block.display());
    let mut serials = Vec::new();
    for entry in fs::read_dir(block).during(operation)? {
        let entry = entry.during(operation)?;
        // Of virtio disks here, of others below the device.
        let serial = ["serial", "device/serial"]
            .iter()
            .find_map(|file| fs::read_to_string(entry.path().join(file)).ok());
        if let Some(serial) = serial {
            let name = entry.file_name().to_string_lossy().into_owned();
            serials.push((serial.trim().to_owned(), name));
        }
    }
    serials.sort();
    Ok(serials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(disks: &[(&str, &str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("loop0")).unwrap();
        for (name, file, serial) in disks {
            let path = directory.path().join(name).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{serial}\n")).unwrap();
        }
        directory
    }

    #[test]
    fn disks_are_found_by_what_they_are_called_not_where_they_are() {
        let block = block(&[
            ("vda", "serial", "extra"),
            ("vdb", "serial", "vial"),
            ("vdc", "serial", "data"),
            ("nvme0n1", "device/serial", "root"),
        ]);
        let disks = Disks::present(block.path()).unwrap();
        assert_eq!(disks.root, Path::new("/dev/nvme0n1"));
        assert_eq!(disks.program, Path::new("/dev/vdb"));
        assert_eq!(disks.data.as_deref(), Some(Path::new("/dev/vdc")));
    }

    #[test]
    fn only_the_data_may_be_missing() {
        let without = block(&[("vda", "serial", "root"), ("vdb", "serial", "vial")]);
        assert_eq!(Disks::present(without.path()).unwrap().data, None);
        let without = block(&[("vda", "serial", "root")]);
        let error = Disks::present(without.path()).unwrap_err().to_string();
        assert_eq!(error, "cannot find the disk `vial`: vda is `root`");
        let error = Disks::present(block(&[]).path()).unwrap_err().to_string();
        assert!(error.contains("there is none with a serial"), "{error}");
    }
}
