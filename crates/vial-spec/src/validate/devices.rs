//! Further disks and network interfaces of virtual machines.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ipnet::IpNet;

use super::{FieldPath, Problems};
use crate::file::{DiskEntry, MachineEntry, NicEntry};
use crate::size::Size;
use crate::{
    Bus, DiskContent, DiskFormat, ExtraDisk, Nic, NicModel, NodeConfig, Role, mac_text, usual_mac,
};

/// Serials of disks that every machine has.
const TAKEN: [&str; 5] = ["root", "vial", "data", "swap", "modules"];
/// Of a serial (virtio 1.2, 5.2.6.1), in bytes.
const LONGEST_DISK: usize = 20;
/// A bridge's name has 15 bytes (IFNAMSIZ), of which four say that it is one.
const LONGEST_NETWORK: usize = 11;
const LEAST_SIZE: Size = Size::from_bytes(1 << 20);
/// Each is a device of the machine's one PCI bus, which has 32.
const MOST: usize = 10;

pub(super) fn check_disks(path: &FieldPath, entries: &[DiskEntry], problems: &mut Problems) {
    most(path, entries.len(), "disks", problems);
    for (number, entry) in entries.iter().enumerate() {
        let place = path.index(number);
        let name = &entry.name;
        if !is_name(name, LONGEST_DISK) {
            let message = format!(
                "{name:?} is not the name of a disk: 1 to {LONGEST_DISK} lower-case letters, digits and \"-\""
            );
            problems.add(&place.key("name"), message);
        } else if TAKEN.contains(&name.as_str()) {
            let message = format!("{name:?} is the name of a disk that every machine has");
            problems.add(&place.key("name"), message);
        } else if entries[..number].iter().any(|other| other.name == *name) {
            problems.add(
                &place.key("name"),
                format!("the disk {name:?} is there twice"),
            );
        }
        match (&entry.size, &entry.file) {
            (Some(size), None) if *size < LEAST_SIZE => {
                let message = format!("{size} is too little, {LEAST_SIZE} is the least");
                problems.add(&place.key("size"), message);
            }
            (Some(_), None) if entry.format.is_some() => {
                let message = "only a `file` has a format";
                problems.add(&place.key("format"), message);
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => problems.add(&place, "a disk has either `size` or `file`"),
        }
        if entry.shared && format_of(entry) == DiskFormat::Qcow2 && !entry.read_only {
            let message =
                "a qcow2 file has one writer: it can only be shared with `readOnly: true`";
            problems.add(&place.key("shared"), message);
        }
    }
}

pub(super) fn check_nics(path: &FieldPath, entries: &[NicEntry], problems: &mut Problems) {
    most(path, entries.len(), "interfaces", problems);
    for (number, entry) in entries.iter().enumerate() {
        let place = path.index(number);
        if !is_name(&entry.network, LONGEST_NETWORK) {
            let message = format!(
                "{:?} is not the name of a network: 1 to {LONGEST_NETWORK} lower-case letters, digits and \"-\"",
                entry.network
            );
            problems.add(&place.key("network"), message);
        }
        if let Some(text) = &entry.mac {
            match mac(text) {
                None => problems.add(
                    &place.key("mac"),
                    format!("{text:?} is not a hardware address, as 02:00:00:00:07:01 is"),
                ),
                Some([first, ..]) if first & 1 == 1 => problems.add(
                    &place.key("mac"),
                    format!("{text} is an address of many (its first byte is odd)"),
                ),
                Some(_) => {}
            }
        }
        for (number, text) in entry.addresses.iter().enumerate() {
            if text.parse::<IpNet>().is_err() {
                let message =
                    format!("{text:?} is not an address with its prefix, as 192.168.7.3/24 is");
                problems.add(&place.key("addresses").index(number), message);
            }
        }
    }
}

/// Refuses what the node image's kernel (Debian's for clouds) has no driver for.
pub(super) fn check_drivers(path: &FieldPath, entry: &MachineEntry, problems: &mut Problems) {
    let hint = || Some("`kernel` and `kernelModules` give it one that has".to_owned());
    for (number, _) in (entry.disks.iter().enumerate()).filter(|(_, disk)| disk.bus == Bus::Usb) {
        let place = path.key("disks").index(number).key("bus");
        let message = "the node image's kernel has no driver for usb";
        problems.add_hint(&place, message, hint());
    }
    for (number, nic) in entry.nics.iter().enumerate() {
        let model = match nic.model {
            NicModel::Virtio | NicModel::Vmxnet3 => continue,
            NicModel::E1000 => "e1000",
            NicModel::E1000e => "e1000e",
            NicModel::Igb => "igb",
        };
        let place = path.key("nics").index(number).key("model");
        let message = format!("the node image's kernel has no driver for {model}");
        problems.add_hint(&place, message, hint());
    }
}

/// Refuses what machines cannot have beside each other: shared disks that differ, one address twice on a network.
pub(super) fn check_together(nodes: &[NodeConfig], problems: &mut Problems) {
    let mut disks: BTreeMap<&str, (&str, &ExtraDisk)> = BTreeMap::new();
    let mut macs = BTreeMap::new();
    for node in nodes {
        let path = FieldPath::root().key("nodes").key(&node.name).key("vm");
        let Some(machine) = &node.machine else {
            continue;
        };
        for disk in machine.disks.iter().filter(|disk| disk.shared) {
            match disks.entry(&disk.name) {
                Entry::Vacant(place) => {
                    place.insert((&node.name, disk));
                }
                Entry::Occupied(other) if other.get().1.content != disk.content => {
                    let message = format!(
                        "the shared disk {:?} of {} is another one than that of {}",
                        disk.name,
                        node.name,
                        other.get().0
                    );
                    problems.add(&path.key("disks"), message);
                }
                Entry::Occupied(_) => {}
            }
        }
        for nic in &machine.nics {
            if let Some(other) = macs.insert((&nic.network, nic.mac), &node.name) {
                let message = format!(
                    "{} is the hardware address of two interfaces on {}, of {other} and {}",
                    mac_text(nic.mac),
                    nic.network,
                    node.name
                );
                problems.add(&path.key("nics"), message);
            }
        }
    }
}

pub(super) fn disk(entry: DiskEntry) -> ExtraDisk {
    let format = format_of(&entry);
    let content = match (entry.file, entry.size) {
        (Some(path), _) => DiskContent::File { path, format },
        (None, size) => DiskContent::Empty(size.unwrap_or(LEAST_SIZE)),
    };
    ExtraDisk {
        name: entry.name,
        bus: entry.bus,
        content,
        shared: entry.shared,
        read_only: entry.read_only,
    }
}

pub(super) fn nics(entries: Vec<NicEntry>, role: Role, ordinal: u32) -> Vec<Nic> {
    let numbered = entries.into_iter().zip(1..);
    let nics = numbered.map(|(entry, number): (NicEntry, u8)| {
        let usual = usual_mac(number, role, ordinal);
        Nic {
            network: entry.network,
            model: entry.model,
            mac: entry.mac.as_deref().and_then(mac).unwrap_or(usual),
            addresses: (entry.addresses.iter())
                .filter_map(|text| text.parse().ok())
                .collect(),
        }
    });
    nics.collect()
}

fn format_of(entry: &DiskEntry) -> DiskFormat {
    let extension = entry.file.as_ref().and_then(|file| file.extension());
    let by_name = match extension.is_some_and(|extension| extension == "qcow2") {
        true => DiskFormat::Qcow2,
        false => DiskFormat::Raw,
    };
    entry.format.unwrap_or(by_name)
}

fn is_name(text: &str, longest: usize) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=longest).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-')
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let parts = text.split(':').map(|part| match part.len() {
        2 => u8::from_str_radix(part, 16).ok(),
        _ => None,
    });
    parts.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

fn most(path: &FieldPath, count: usize, what: &str, problems: &mut Problems) {
    if count > MOST {
        problems.add(
            path,
            format!("{count} {what} are too many, at most {MOST} are possible"),
        );
    }
}
