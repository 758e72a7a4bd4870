//! Processors and memory of a machine, in parts where it has several.

use vial_qemu::Arguments;
use vial_qemu::start::cold_memory;
use vial_spec::{Machine, Role};

/// Translated instructions of a control plane, in MiB: kube-apiserver, etcd, the controllers and what a worker has.
const CONTROL_PLANE_TRANSLATED: u64 = 512;

/// The board. Memory of a machine in parts belongs to these. Who looks at a screen has a keyboard.
pub(super) fn board(wanted: &Machine) -> String {
    let memory = match wanted.numa.is_empty() {
        true => "memory-backend=ram,",
        false => "",
    };
    let keyboard = match wanted.display {
        true => "on",
        false => "off",
    };
    format!(
        "q35,{memory}usb=off,smbus=off,sata=off,i8042={keyboard},vmport=off,hpet=off,suppress-vmdesc=on"
    )
}

/// Under emulation, what was translated is kept in so much memory, which the host gives besides.
///
/// A worker has an eighth of the guest's memory: its boot fills whatever there is (430 MB of 512 were measured), and is no
/// faster for it; a large guest runs more. The programs of a control plane do not fit: with 128 MB everything was thrown
/// away and translated anew a hundred times within five minutes (`info jit`), and the machine never came to rest.
pub(super) fn accelerator(named: &str, role: Role, wanted: &Machine) -> String {
    if !named.starts_with("tcg") {
        return named.to_owned();
    }
    let mebibytes = wanted.memory.bytes() >> 20;
    let translated = match role {
        Role::ControlPlane => CONTROL_PLANE_TRANSLATED,
        Role::Worker => (mebibytes >> 3).clamp(128, 512),
    };
    format!("{named},tb-size={translated}")
}

/// A socket for each part, where they are equal: what shares a cache is not to be in two parts. Else one for each processor.
pub(super) fn processors(argv: &mut Arguments, wanted: &Machine) {
    let cpus = wanted.cpus;
    let shares: Vec<u32> = wanted.numa.iter().map(|part| part.cpus).collect();
    let shares: Vec<u32> = shares.into_iter().filter(|cpus| *cpus > 0).collect();
    let sockets = match shares.as_slice() {
        [] => {
            argv.set("-smp", cpus);
            return;
        }
        [first, others @ ..] if others.iter().all(|cpus| cpus == first) => {
            u32::try_from(shares.len()).unwrap_or(1)
        }
        _ => cpus,
    };
    let cores = cpus / sockets.max(1);
    argv.set(
        "-smp",
        format!("{cpus},sockets={sockets},cores={cores},threads=1"),
    );
}

/// Empty, until it is known whether the machine goes on from a frozen one.
pub(super) fn memory(argv: &mut Arguments, wanted: &Machine) {
    let memory = wanted.memory.bytes();
    argv.set("-m", format!("size={}k", memory >> 10));
    if wanted.numa.is_empty() {
        backend(argv, "ram", memory);
        return;
    }
    let mut first = 0;
    for (number, part) in wanted.numa.iter().enumerate() {
        backend(argv, &format!("ram{number}"), part.memory.bytes());
        let cpus = match part.cpus {
            0 => String::new(),
            count => format!(",cpus={first}-{}", first + count - 1),
        };
        first += part.cpus;
        argv.set(
            "-numa",
            format!("node,nodeid={number}{cpus},memdev=ram{number}"),
        );
    }
    for (from, part) in wanted.numa.iter().enumerate() {
        for (to, distance) in part.distances.iter().enumerate() {
            argv.set("-numa", format!("dist,src={from},dst={to},val={distance}"));
        }
    }
}

fn backend(argv: &mut Arguments, id: &str, bytes: u64) {
    argv.set("-object", cold_memory(id, bytes));
}

/// Words for the kernel that set memory aside at boot, when there is still enough in one piece.
pub(super) fn huge_pages(wanted: &Machine) -> Vec<String> {
    let words = wanted.huge_pages.iter().map(|(page, size)| {
        let count = size.bytes() / page.bytes();
        format!("hugepagesz={}M hugepages={count}", page.bytes() >> 20)
    });
    words.collect()
}
