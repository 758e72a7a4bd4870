//! Virtual machines: sizes that can be, and one layer over the other.

use super::{FieldPath, Problems};
use crate::file::MachineEntry;
use crate::size::Size;
use crate::{Driver, Machine};

/// A node image does not come up with less.
const LEAST_MEMORY: Size = Size::from_bytes(512 << 20);
const LEAST_DISK: Size = Size::from_bytes(1 << 30);
const MOST_CPUS: u32 = 64;

/// Checks what is written at one place.
pub(super) fn check(path: &FieldPath, entry: &MachineEntry, problems: &mut Problems) {
    if entry
        .cpus
        .is_some_and(|cpus| !(1..=MOST_CPUS).contains(&cpus))
    {
        let message = format!("a machine has 1 to {MOST_CPUS} processors");
        problems.add(&path.key("cpus"), message);
    }
    let least = [
        ("memory", entry.memory, LEAST_MEMORY),
        ("disk", entry.disk, LEAST_DISK),
    ];
    for (key, size, least) in least {
        if let Some(size) = size.filter(|size| *size < least) {
            problems.add(
                &path.key(key),
                format!("{size} is too little, a node needs {least} at least"),
            );
        }
    }
    for (number, word) in entry.kernel_args.iter().enumerate() {
        if word.is_empty() || word.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let place = path.key("kernelArgs").index(number);
            problems.add(&place, format!("{word:?} is not one word"));
        }
    }
    for (number, name) in entry.modules.iter().enumerate() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if name.is_empty() || !name.bytes().all(plain) {
            let place = path.key("modules").index(number);
            problems.add(&place, format!("{name:?} is not the name of a module"));
        }
    }
    for name in entry.sysctls.keys() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        let inside = !name.split(['.', '/']).any(str::is_empty);
        if !(inside && name.bytes().all(plain)) {
            let place = path.key("sysctls").key(name);
            problems.add(&place, format!("{name:?} is not the name of a setting"));
        }
    }
}

/// Lays what is said of a single node over what is said of its group: sizes replace, settings by name, lists are
/// continued.
pub(super) fn overlay(below: &mut MachineEntry, above: MachineEntry) {
    below.cpus = above.cpus.or(below.cpus);
    below.memory = above.memory.or(below.memory);
    below.disk = above.disk.or(below.disk);
    below.disk_cache = above.disk_cache.or(below.disk_cache);
    below.kernel_args.extend(above.kernel_args);
    below.modules.extend(above.modules);
    below.sysctls.extend(above.sysctls);
    below.qemu_args.extend(above.qemu_args);
}

/// The machine of a node; `None` for a container.
pub(super) fn resolve(driver: Driver, entry: Option<MachineEntry>) -> Option<Machine> {
    let usual = Machine::default();
    let entry = match driver {
        Driver::Container => return None,
        Driver::Vm => entry.unwrap_or_default(),
    };
    let sysctls = entry.sysctls.into_iter();
    Some(Machine {
        cpus: entry.cpus.unwrap_or(usual.cpus),
        memory: entry.memory.unwrap_or(usual.memory),
        disk: entry.disk.unwrap_or(usual.disk),
        disk_cache: entry.disk_cache.unwrap_or_default(),
        kernel_args: entry.kernel_args,
        modules: entry.modules,
        sysctls: sysctls.map(|(name, value)| (name, value.0)).collect(),
        qemu_args: entry.qemu_args,
    })
}
