//! Disks and network interfaces beside those of every machine.

use vial_qemu::Arguments;
use vial_qemu::arguments::escaped;
use vial_spec::{Bus, DiskContent, DiskFormat, ExtraDisk, Machine, NicModel, mac_text};

use super::super::super::machine::{FILES, OWN};

/// A drive and a device each; one controller for all disks of a kind that needs one.
pub(super) fn disks(argv: &mut Arguments, wanted: &Machine, cache: &str) {
    let any = |bus: Bus| wanted.disks.iter().any(|disk| disk.bus == bus);
    if any(Bus::Scsi) {
        argv.set("-device", "virtio-scsi-pci,id=scsi");
    }
    if any(Bus::Usb) {
        argv.set("-device", "qemu-xhci,id=usb");
    }
    for disk in &wanted.disks {
        drive(argv, disk, cache);
        let device = match disk.bus {
            Bus::Virtio => "virtio-blk-pci",
            Bus::Nvme => "nvme",
            Bus::Scsi => "scsi-hd,bus=scsi.0",
            Bus::Usb => "usb-storage,bus=usb.0",
        };
        // Others write to it too.
        let shared = if disk.shared { ",share-rw=on" } else { "" };
        let name = &disk.name;
        argv.set(
            "-device",
            format!("{device},drive=disk-{name},serial={name}{shared}"),
        );
    }
}

fn drive(argv: &mut Arguments, disk: &ExtraDisk, cache: &str) {
    let name = &disk.name;
    let (format, file) = match &disk.content {
        DiskContent::Empty(_) => ("raw", format!("{OWN}/disk-{name}")),
        DiskContent::File { format, .. } => {
            let format = match format {
                DiskFormat::Raw => "raw",
                DiskFormat::Qcow2 => "qcow2",
            };
            (format, format!("{FILES}/{name}"))
        }
    };
    let options = match disk.read_only {
        true => "read-only=on",
        false => cache,
    };
    let file = escaped(&file);
    argv.set(
        "-blockdev",
        format!(
            "driver={format},node-name=disk-{name},{options},file.driver=file,file.filename={file}"
        ),
    );
}

/// eth1, eth2, …, by way of tap1, tap2, …
pub(super) fn nics(argv: &mut Arguments, wanted: &Machine) {
    for (nic, number) in wanted.nics.iter().zip(1..) {
        let model = match nic.model {
            NicModel::Virtio => "virtio-net-pci",
            NicModel::Vmxnet3 => "vmxnet3",
            NicModel::E1000 => "e1000",
            NicModel::E1000e => "e1000e",
            NicModel::Igb => "igb",
        };
        argv.set(
            "-netdev",
            format!("tap,id=eth{number},ifname=tap{number},script=no,downscript=no"),
        );
        let mac = mac_text(nic.mac);
        argv.set("-device", format!("{model},netdev=eth{number},mac={mac}"));
    }
}
