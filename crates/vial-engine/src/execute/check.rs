//! What only the host can tell of a specification, looked at before anything is done: the memory that machines ask for, and
//! their files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use vial_image::machine::check_kernel;
use vial_spec::size::Size;
use vial_spec::{ClusterSpec, DiskContent, DiskFormat, Machine};

use crate::{Error, Result};

/// Of a qcow2 file (QEMU: docs/interop/qcow2.rst).
const QCOW2: [u8; 4] = *b"QFI\xfb";

/// Looks at the machines that are to be made, which are those that a living cluster does not have yet.
///
/// # Errors
/// [`Error::Memory`], [`Error::Disk`], or what is wrong with a kernel.
pub fn check(spec: &ClusterSpec, living: Option<&ClusterSpec>) -> Result<()> {
    let lives = |name: &str| {
        let node = living.and_then(|living| living.node(name));
        node.is_some_and(|node| node.machine.is_some())
    };
    let nodes = spec.nodes.iter().filter(|node| !lives(&node.name));
    let machines: Vec<_> = nodes
        .filter_map(|node| Some((node.name.as_str(), node.machine.as_ref()?)))
        .collect();
    let sandbox = match living {
        // One that lives has its memory.
        Some(_) => None,
        None => spec.sandbox.machine().map(|machine| machine.memory),
    };
    let asked = machines
        .iter()
        .map(|(node, machine)| (*node, machine.memory));
    let asked: Vec<_> = sandbox
        .map(|memory| ("the sandbox", memory))
        .into_iter()
        .chain(asked)
        .collect();
    memory(&asked, available())?;
    let mut kernels = Vec::new();
    for (node, machine) in machines {
        disks(node, machine)?;
        if let Some(kernel) = machine.kernel.as_ref()
            && !kernels.contains(&kernel)
        {
            check_kernel(&kernel.file, kernel.modules.as_deref())?;
            kernels.push(kernel);
        }
    }
    Ok(())
}

/// Whether all of them fit, by what each asks for.
fn memory(machines: &[(&str, Size)], available: Option<Size>) -> Result<()> {
    let Some(available) = available else {
        return Ok(());
    };
    let bytes = machines.iter().map(|(_, memory)| memory.bytes());
    let sum = Size::from_bytes(bytes.fold(0, u64::saturating_add));
    if sum <= available {
        return Ok(());
    }
    let parts: Vec<_> = machines
        .iter()
        .map(|(node, memory)| format!("{node} {memory}"))
        .collect();
    let asked = match parts.as_slice() {
        [one] => one.clone(),
        parts => format!("{} = {sum}", parts.join(" + ")),
    };
    Err(Error::Memory {
        asked,
        available: rounded(available),
    })
}

/// What can be had without swapping (proc_meminfo(5)).
fn available() -> Option<Size> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(Size::from_bytes(kilobytes << 10))
}

/// `1.2Gi`, rounded down.
fn rounded(size: Size) -> String {
    let tenths = size.bytes() / ((1 << 30) / 10);
    format!("{}.{}Gi", tenths / 10, tenths % 10)
}

/// The files that are disks: there, readable, and what they are said to be.
fn disks(node: &str, machine: &Machine) -> Result<()> {
    for (disk, path) in machine.files() {
        let DiskContent::File { format, .. } = &disk.content else {
            continue;
        };
        look(path, *format, disk.read_only).map_err(|source| Error::Disk {
            node: node.to_owned(),
            disk: disk.name.clone(),
            path: path.to_path_buf(),
            source,
        })?;
    }
    Ok(())
}

fn look(path: &Path, format: DiskFormat, read_only: bool) -> io::Result<()> {
    let mut file = File::options().read(true).write(!read_only).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    match format {
        _ if magic.is_empty() => Err(io::Error::other("it is empty")),
        DiskFormat::Qcow2 if magic != QCOW2 => Err(io::Error::other("it is no qcow2 file")),
        DiskFormat::Raw if magic == QCOW2 => Err(io::Error::other(
            "it is a qcow2 file, `format: qcow2` says so",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_the_memory_is_told() {
        let [two, one] = ["2Gi", "1536Mi"].map(|memory| memory.parse().unwrap());
        let machines = [("w-1", two), ("w-2", two), ("w-3", one)];
        let available = |text: &str| Some(text.parse().unwrap());
        assert!(memory(&machines, available("6Gi")).is_ok());
        assert!(memory(&machines, None).is_ok());
        let error = memory(&machines[..2], available("1300Mi")).unwrap_err();
        insta::assert_snapshot!(error, @"not enough memory for the virtual machines: w-1 2Gi + w-2 2Gi = 4Gi, the host has 1.2Gi available");
        let error = memory(&machines[..1], available("0")).unwrap_err();
        insta::assert_snapshot!(error, @"not enough memory for the virtual machines: w-1 2Gi, the host has 0.0Gi available");
    }

    #[test]
    fn a_file_is_what_it_is_said_to_be() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let (raw, qcow2) = (file("raw", &[0; 512]), file("qcow2", b"QFI\xfb\0\0\0\x03"));
        assert!(look(&raw, DiskFormat::Raw, false).is_ok());
        assert!(look(&qcow2, DiskFormat::Qcow2, false).is_ok());
        for (path, format, reason) in [
            (&raw, DiskFormat::Qcow2, "no qcow2 file"),
            (&qcow2, DiskFormat::Raw, "`format: qcow2` says so"),
            (&file("empty", b""), DiskFormat::Raw, "empty"),
            (
                &directory.path().join("gone"),
                DiskFormat::Raw,
                "No such file",
            ),
            (&"/dev/null".into(), DiskFormat::Raw, "not a regular file"),
        ] {
            let error = look(path, format, false).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn this_host_has_memory() {
        assert!(available().is_some_and(|size| size.bytes() > 0));
    }
}
