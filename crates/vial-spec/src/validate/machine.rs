//! Virtual machines: sizes that can be, and one layer over the other.

use super::{FieldPath, Problems, devices};
use crate::file::{MachineEntry, NumaEntry};
use crate::size::Size;
use crate::{Driver, Machine, NumaNode, OwnKernel, Role};

/// A node image does not come up with less.
const LEAST_MEMORY: Size = Size::from_bytes(512 << 20);
const LEAST_DISK: Size = Size::from_bytes(1 << 30);
const LEAST_SWAP: Size = Size::from_bytes(1 << 20);
const MOST_CPUS: u32 = 64;
const MOST_PARTS: usize = 8;

/// The places of an entry's fields: below a path of the file, or flags.
pub(super) type Place<'a> = &'a dyn Fn(&str) -> FieldPath;

/// The flag that says what a field of the file says.
pub(super) fn flag(key: &str) -> &'static str {
    match key {
        "memory" => "--vm-memory",
        "ephemeral" => "--ephemeral",
        "display" => "--display",
        "kernel" => "--kernel",
        "kernelModules" => "--modules",
        _ => "--vm-cpus",
    }
}

/// The first of those that were given.
pub(super) fn first_flag(entry: &MachineEntry) -> &'static str {
    let given = [
        ("cpus", entry.cpus.is_some()),
        ("memory", entry.memory.is_some()),
        ("ephemeral", entry.ephemeral.is_some()),
        ("display", entry.display.is_some()),
        ("kernel", entry.kernel.is_some()),
        ("kernelModules", entry.kernel_modules.is_some()),
    ];
    let first = given.iter().find(|(_, given)| *given);
    flag(first.map_or("cpus", |(key, _)| key))
}

/// Checks what is written at one place.
pub(super) fn check(place: Place<'_>, entry: &MachineEntry, problems: &mut Problems) {
    if entry
        .cpus
        .is_some_and(|cpus| !(1..=MOST_CPUS).contains(&cpus))
    {
        let message = format!("a machine has 1 to {MOST_CPUS} processors");
        problems.add(&place("cpus"), message);
    }
    let least = [
        ("memory", entry.memory, LEAST_MEMORY),
        ("disk", entry.disk, LEAST_DISK),
        ("swap", entry.swap, LEAST_SWAP),
    ];
    for (key, size, least) in least {
        if let Some(size) = size.filter(|size| *size < least) {
            problems.add(
                &place(key),
                format!("{size} is too little, a node needs {least} at least"),
            );
        }
    }
    numa(&place("numa"), &entry.numa, problems);
    for (page, size) in &entry.huge_pages {
        if size.bytes() == 0 || size.bytes() % page.bytes() != 0 {
            let path = place("hugePages").key(&page.to_string());
            problems.add(&path, format!("{size} is not a multiple of {page}"));
        }
    }
    devices::check_disks(&place("disks"), &entry.disks, problems);
    devices::check_nics(&place("nics"), &entry.nics, problems);
    words(place, entry, problems);
}

/// What is told to the kernel.
fn words(place: Place<'_>, entry: &MachineEntry, problems: &mut Problems) {
    for (number, word) in entry.kernel_args.iter().enumerate() {
        if word.is_empty() || word.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let place = place("kernelArgs").index(number);
            problems.add(&place, format!("{word:?} is not one word"));
        }
    }
    for (number, name) in entry.modules.iter().enumerate() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if name.is_empty() || !name.bytes().all(plain) {
            let place = place("modules").index(number);
            problems.add(&place, format!("{name:?} is not the name of a module"));
        }
    }
    for name in entry.sysctls.keys() {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        let inside = !name.split(['.', '/']).any(str::is_empty);
        if !(inside && name.bytes().all(plain)) {
            let place = place("sysctls").key(name);
            problems.add(&place, format!("{name:?} is not the name of a setting"));
        }
    }
}

fn numa(path: &FieldPath, parts: &[NumaEntry], problems: &mut Problems) {
    if parts.len() > MOST_PARTS {
        let message = format!(
            "{} parts are too many, at most {MOST_PARTS} are possible",
            parts.len()
        );
        problems.add(path, message);
    }
    for (number, part) in parts.iter().enumerate() {
        let place = path.index(number);
        if part.memory.bytes() < 64 << 20 || part.memory.bytes() % (1 << 20) != 0 {
            let message = format!("{} is not a number of whole Mi, 64Mi at least", part.memory);
            problems.add(&place.key("memory"), message);
        }
        if part.distances.is_empty() {
            continue;
        }
        let place = place.key("distances");
        if part.distances.len() != parts.len() {
            let message = format!(
                "there are {} parts, and {} distances to them",
                parts.len(),
                part.distances.len()
            );
            problems.add(&place, message);
            continue;
        }
        for (to, distance) in part.distances.iter().enumerate() {
            match (to == number, distance) {
                (true, 10) | (false, 11..=254) => {}
                (true, _) => problems.add(&place.index(to), "the distance to itself is 10"),
                (false, _) => {
                    problems.add(
                        &place.index(to),
                        "the distance to another part is 11 to 254",
                    );
                }
            }
        }
    }
    let told = parts
        .iter()
        .filter(|part| !part.distances.is_empty())
        .count();
    if told != 0 && told != parts.len() {
        problems.add(path, "either all parts have `distances`, or none");
    }
}

impl MachineEntry {
    /// This, where it says something, and what `below` says elsewhere.
    #[must_use]
    pub fn over(self, below: MachineEntry) -> MachineEntry {
        let mut result = below;
        overlay(&mut result, self);
        result
    }
}

/// Lays what is said of a single node over what is said of its group: sizes replace, as do parts and interfaces as a whole;
/// settings and disks by name; lists of words are continued.
pub(super) fn overlay(below: &mut MachineEntry, above: MachineEntry) {
    below.cpus = above.cpus.or(below.cpus);
    below.memory = above.memory.or(below.memory);
    below.disk = above.disk.or(below.disk);
    below.disk_cache = above.disk_cache.or(below.disk_cache);
    below.ephemeral = above.ephemeral.or(below.ephemeral);
    below.swap = above.swap.or(below.swap);
    if !above.numa.is_empty() {
        below.numa = above.numa;
    }
    below.huge_pages.extend(above.huge_pages);
    below
        .disks
        .retain(|disk| above.disks.iter().all(|other| other.name != disk.name));
    below.disks.extend(above.disks);
    if !above.nics.is_empty() {
        below.nics = above.nics;
    }
    if above.kernel.is_some() {
        // The modules of one kernel are of no use to another.
        below.kernel = above.kernel;
        below.kernel_modules = None;
    }
    below.kernel_modules = above.kernel_modules.or(below.kernel_modules.take());
    below.kernel_args.extend(above.kernel_args);
    below.modules.extend(above.modules);
    below.sysctls.extend(above.sysctls);
    below.display = above.display.or(below.display);
    below.qemu_args.extend(above.qemu_args);
    below.restart = above.restart.or(below.restart);
}

/// The machine of a node; `None` for a container. `path` is where most is said of it.
pub(super) fn resolve(
    path: &FieldPath,
    driver: Driver,
    entry: Option<MachineEntry>,
    (role, ordinal): (Role, u32),
    problems: &mut Problems,
) -> Option<Machine> {
    let usual = Machine::default();
    let entry = match driver {
        Driver::Container => return None,
        Driver::Vm => entry.unwrap_or_default(),
    };
    whole(path, &entry, problems);
    let (cpus, memory) = match entry.numa.as_slice() {
        [] => (None, None),
        parts => (u32::try_from(cpus_of(parts)).ok(), Some(memory_of(parts))),
    };
    let numa = entry.numa.iter().map(|part| NumaNode {
        cpus: part.cpus,
        memory: part.memory,
        distances: part.distances.clone(),
    });
    Some(Machine {
        cpus: entry.cpus.or(cpus).unwrap_or(usual.cpus),
        memory: entry.memory.or(memory).unwrap_or(usual.memory),
        disk: entry.disk.unwrap_or(usual.disk),
        disk_cache: entry.disk_cache.unwrap_or_default(),
        ephemeral: entry.ephemeral.unwrap_or_default(),
        swap: entry.swap,
        numa: numa.collect(),
        huge_pages: entry.huge_pages,
        disks: entry.disks.into_iter().map(devices::disk).collect(),
        nics: devices::nics(entry.nics, role, ordinal),
        kernel: entry.kernel.map(|file| OwnKernel {
            file,
            modules: entry.kernel_modules,
        }),
        kernel_args: entry.kernel_args,
        modules: entry.modules,
        sysctls: entry
            .sysctls
            .into_iter()
            .map(|(name, value)| (name, value.0))
            .collect(),
        display: entry.display.unwrap_or_default(),
        qemu_args: entry.qemu_args,
        restart: entry.restart.unwrap_or_default(),
    })
}

fn cpus_of(parts: &[NumaEntry]) -> u64 {
    parts.iter().map(|part| u64::from(part.cpus)).sum()
}

fn memory_of(parts: &[NumaEntry]) -> Size {
    sum(parts.iter().map(|part| part.memory))
}

fn sum(sizes: impl Iterator<Item = Size>) -> Size {
    Size::from_bytes(sizes.fold(0, |sum, size| sum.saturating_add(size.bytes())))
}

/// Checks what only all layers together say.
fn whole(path: &FieldPath, entry: &MachineEntry, problems: &mut Problems) {
    if !entry.numa.is_empty() {
        let place = path.key("numa");
        let cpus = cpus_of(&entry.numa);
        if !(1..=u64::from(MOST_CPUS)).contains(&cpus)
            || entry.cpus.is_some_and(|all| u64::from(all) != cpus)
        {
            let of = entry
                .cpus
                .map_or(format!("1 to {MOST_CPUS}"), |all| all.to_string());
            let message = format!("the parts have {cpus} processors, the machine {of}");
            problems.add(&place, message);
        }
        let memory = memory_of(&entry.numa);
        match entry.memory {
            Some(all) if all != memory => {
                let message = format!("the parts have {memory} of memory, the machine {all}");
                problems.add(&place, message);
            }
            _ if memory < LEAST_MEMORY => {
                let message = format!(
                    "the parts have {memory} of memory, a node needs {LEAST_MEMORY} at least"
                );
                problems.add(&place, message);
            }
            _ => {}
        }
    }
    let memory = match (entry.memory, entry.numa.as_slice()) {
        (Some(memory), _) => memory,
        (None, []) => Machine::default().memory,
        (None, parts) => memory_of(parts),
    };
    let huge = sum(entry.huge_pages.values().copied());
    let needed = huge.bytes().saturating_add(LEAST_MEMORY.bytes());
    if !entry.huge_pages.is_empty() && needed > memory.bytes() {
        let message = format!(
            "of {memory} of memory, {huge} in huge pages leave less than the {LEAST_MEMORY} that a node needs"
        );
        problems.add(&path.key("hugePages"), message);
    }
    if entry.ephemeral == Some(true) && entry.disk.is_some() {
        let message = "an ephemeral machine has no disk: what it writes is in its memory";
        problems.add(&path.key("disk"), message);
    }
    if entry.kernel_modules.is_some() && entry.kernel.is_none() {
        let hint = "`kernel` names the kernel that they are for".to_owned();
        let message = "the node image's kernel has its own modules";
        problems.add_hint(&path.key("kernelModules"), message, Some(hint));
    }
    if entry.kernel.is_none() {
        devices::check_drivers(path, entry, problems);
    }
}
