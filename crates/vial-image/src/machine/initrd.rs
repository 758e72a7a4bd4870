//! The initramfs: archives one after the other (kernel: Documentation/driver-api/early-userspace/buffer-format.rst), the
//! first the same for all machines of an image, the second a machine's own.

use super::modules::Module;

/// What every machine needs before its root is there: its disks and their file systems; and what it needs right after,
/// where loading it from the root would take longer.
pub(super) const MODULES: [&str; 9] = [
    "virtio_blk",
    "erofs",
    "overlay",
    "ext4",
    "virtio_console",
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    // Before the settings of nodes are written, some of which it brings.
    "br_netfilter",
];

/// What a machine is told about itself (see vial-guest), where vial-boot looks for it.
const SPEC: &str = "machine.json";

/// The archive for all machines.
pub(super) fn base(modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file("init", 0o755, &vial_means::boot());
    archive.directory("modules");
    for module in modules {
        archive.file(&format!("modules/{}", module.file), 0o644, &module.content);
    }
    let order: String = modules
        .iter()
        .map(|module| format!("{}\n", module.file))
        .collect();
    archive.file("modules/order", 0o644, order.as_bytes());
    archive.finish()
}

/// The initramfs of one machine: `base`, the content of [`Machine::initrd`](super::Machine::initrd), and `spec` as
/// `/machine.json`.
#[must_use]
pub fn with_spec(mut base: Vec<u8>, spec: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.file(SPEC, 0o600, spec);
    base.extend(archive.finish());
    base
}

/// A cpio archive in the making, of the format `newc`: the same bytes of the same files.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

impl Archive {
    fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY | 0o755, 2, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, FILE | mode, 1, content);
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("no file of an initramfs has 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("names are short");
        self.bytes.extend(b"070701");
        // Number, mode, user, group, links, time, size, device (2), special device (2), size of the name, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 1, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and contents, as a kernel would read them from archives one after the other.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[6 + index * 8..][..8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            assert_eq!(bytes[110 + name_size - 1], 0);
            let start = (110 + name_size).next_multiple_of(4);
            let content = bytes[start..start + size].to_vec();
            bytes = &bytes[start + size.next_multiple_of(4)..];
            if name != "TRAILER!!!" {
                entries.push((name, mode, content));
            }
        }
        entries
    }

    fn module(file: &str) -> Module {
        Module {
            file: file.into(),
            content: file.as_bytes().to_vec(),
        }
    }

    #[test]
    fn modules_are_there_in_the_order_in_which_they_are_loaded() {
        let entries = read(&base(&[module("llc.ko"), module("a_bridge.ko")]));
        let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        let expected = [
            "init",
            "modules",
            "modules/llc.ko",
            "modules/a_bridge.ko",
            "modules/order",
        ];
        assert_eq!(names, expected);
        assert_eq!(entries[0].1, 0o100_755);
        assert_eq!(entries[0].2, vial_means::boot());
        assert_eq!(entries[1].1, 0o040_755);
        assert_eq!(entries[4].2, b"llc.ko\na_bridge.ko\n");
    }

    #[test]
    fn a_machine_has_its_own_file_after_what_all_have() {
        let base = base(&[module("llc.ko")]);
        let entries = read(&with_spec(base.clone(), br#"{"name":"w-1"}"#));
        assert_eq!(entries[..entries.len() - 1], read(&base));
        let (name, mode, content) = entries.last().unwrap();
        assert_eq!((name.as_str(), *mode), ("machine.json", 0o100_600));
        assert_eq!(content, br#"{"name":"w-1"}"#);
    }
}
