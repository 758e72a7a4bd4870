//! The kernel modules that a machine needs before it can read its root: which files, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{initrd, kernel};
use crate::disk;
use crate::error::Result;

/// A module as the initramfs has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Module {
    /// `erofs.ko`.
    pub(super) file: String,
    /// Unpacked.
    pub(super) content: Vec<u8>,
}

/// Reads them from a directory as depmod(8) leaves it, those that others need first. `Err` within is the name of one that
/// is neither there nor part of the kernel.
pub(super) fn gather(directory: &Path) -> Result<Result<Vec<Module>, String>> {
    let list = |name: &str| {
        let bytes = disk::read(&directory.join(name));
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let (dependencies, builtin) = (list("modules.dep")?, list("modules.builtin")?);
    let order = match order(&dependencies, &builtin, &initrd::MODULES) {
        Ok(order) => order,
        Err(missing) => return Ok(Err(missing)),
    };
    let read = |path: &&str| {
        Ok(Module {
            file: format!("{}.ko", name_of(path)),
            content: kernel::read(&directory.join(path))?,
        })
    };
    order.iter().map(read).collect::<Result<_>>().map(Ok)
}

/// Paths of the wanted modules and all that they need, each after what it needs itself; those that are part of the kernel
/// are left out. The name of one that is neither is the error.
///
/// The lists are those of depmod(8): `PATH: PATH…` a line, and a path a line.
fn order<'a>(
    dependencies: &'a str,
    builtin: &'a str,
    wanted: &[&str],
) -> Result<Vec<&'a str>, String> {
    let lines = dependencies.lines().filter_map(|line| line.split_once(':'));
    let needs: BTreeMap<&str, Vec<&str>> = lines
        .map(|(path, needed)| (path, needed.split_whitespace().collect()))
        .collect();
    let by_name: BTreeMap<String, &str> = needs.keys().map(|path| (name_of(path), *path)).collect();
    let builtin: BTreeSet<String> = builtin.lines().map(name_of).collect();
    let mut order = Vec::new();
    for name in wanted {
        let name = name_of(name);
        match by_name.get(&name) {
            Some(path) => visit(path, &needs, &mut order),
            None if builtin.contains(&name) => {}
            None => return Err(name),
        }
    }
    Ok(order)
}

/// modules.dep has whole closures, but depth first is right whether it has or not. Modules cannot need each other.
fn visit<'a>(path: &'a str, needs: &BTreeMap<&'a str, Vec<&'a str>>, order: &mut Vec<&'a str>) {
    if order.contains(&path) {
        return;
    }
    for needed in needs.get(path).into_iter().flatten() {
        visit(needed, needs, order);
    }
    order.push(path);
}

/// `virtio_rng` of `kernel/drivers/char/hw_random/virtio-rng.ko.xz`: modules have underscores, their files either.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = file.split(".ko").next().unwrap_or(file);
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/net/bridge/br_netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz
kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz kernel/net/llc/llc.ko.xz
kernel/net/802/stp.ko.xz: kernel/net/llc/llc.ko.xz
kernel/net/llc/llc.ko.xz:
kernel/drivers/char/hw_random/virtio-rng.ko.xz:
";
    const BUILTIN: &str = "kernel/fs/ext4/ext4.ko\nkernel/drivers/char/virtio_console.ko\n";

    fn names(wanted: &[&str]) -> Result<Vec<String>, String> {
        let order = order(DEPENDENCIES, BUILTIN, wanted)?;
        Ok(order.into_iter().map(name_of).collect())
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let order = names(&["bridge", "br_netfilter"]).unwrap();
        assert_eq!(order, ["llc", "stp", "bridge", "br_netfilter"]);
    }

    #[test]
    fn a_module_is_found_however_its_file_is_written() {
        assert_eq!(names(&["virtio_rng"]).unwrap(), ["virtio_rng"]);
        assert_eq!(names(&["virtio-rng"]).unwrap(), ["virtio_rng"]);
    }

    #[test]
    fn what_is_part_of_the_kernel_is_not_loaded_and_what_is_nowhere_is_named() {
        assert_eq!(names(&["ext4", "llc"]).unwrap(), ["llc"]);
        assert_eq!(names(&["llc", "erofs"]).unwrap_err(), "erofs");
    }
}
