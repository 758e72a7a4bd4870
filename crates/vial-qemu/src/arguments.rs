//! QEMU's arguments under construction: what all machines write the same way. See qemu(1).

use std::fmt::Display;

/// In the run directory of a machine that has a display: who connects sees it, and types (RFC 6143).
pub const VNC_SOCKET: &str = "vnc.sock";
/// In the run directory of every machine: its monitor.
pub const QMP_SOCKET: &str = "qmp.sock";

/// Options and their values, in the order in which they are given.
#[derive(Debug, Default)]
pub struct Arguments(Vec<String>);

impl Arguments {
    /// An option without a value.
    pub fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    /// An option and its value, which is given as it is; see [`escaped`].
    pub fn set(&mut self, name: &str, value: impl Display) {
        self.0.extend([name.into(), value.to_string()]);
    }

    /// A raw disk of the guest, which finds it by its serial `name`. `options` are those of `-blockdev`. One that was frozen
    /// has layers, see [`resolve`](crate::start::resolve).
    pub fn disk(&mut self, name: &str, file: impl Display, options: &str) {
        let file = escaped(file);
        self.set(
            "-blockdev",
            format!("driver=raw,node-name={name},{options},file.driver=file,file.filename={file}"),
        );
        let id = disk_device(name);
        let device = format!("virtio-blk-pci,drive={name},serial={name},id={id}");
        self.set("-device", device);
    }

    /// A unix socket `name.sock` of a directory, which waits for nobody. `options` begin with a comma.
    pub fn socket(&mut self, directory: impl Display, name: &str, options: &str) {
        let path = escaped(format!("{directory}/{name}.sock"));
        let socket = format!("socket,id={name},path={path},server=on,wait=off{options}");
        self.set("-chardev", socket);
    }

    /// Words that were made elsewhere.
    pub fn extend(&mut self, words: impl IntoIterator<Item = String>) {
        self.0.extend(words);
    }

    /// All of them.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        self.0
    }
}

/// How the monitor calls the device of a disk.
#[must_use]
pub fn disk_device(name: &str) -> String {
    format!("disk-{name}")
}

/// A value within a list of options: commas are doubled (qemu(1)).
#[must_use]
pub fn escaped(value: impl Display) -> String {
    value.to_string().replace(',', ",,")
}
