//! The QEMU of a node image, executed where its layers lie unpacked: for what the host itself asks of it.
//!
//! Machines of nodes do not run so; they run in a container, whose root file system is the image.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use vial_sys::program;

const QEMU: &str = "usr/bin/qemu-system-x86_64";
/// Where firmware lies.
const DATA: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// A QEMU that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program and what comes before its own arguments.
    words: Vec<OsString>,
    modules: PathBuf,
}

impl Program {
    /// Finds QEMU in unpacked layers, the topmost first; `None` where the image has none (`--no-vm`).
    #[must_use]
    pub fn in_layers(layers: &[PathBuf]) -> Option<Self> {
        let qemu = program::Program::in_layers(layers, QEMU)?;
        let mut words = qemu.words();
        for data in DATA {
            for data in program::all(layers, Path::new(data)) {
                words.extend(["-L".into(), data.into()]);
            }
        }
        let modules = qemu.libraries().iter().map(|below| below.join("qemu"));
        let modules = modules.into_iter().find(|modules| modules.exists());
        let modules = modules.unwrap_or_else(|| PathBuf::from("/nonexistent"));
        Some(Self { words, modules })
    }

    /// The program and what comes before its own arguments, for whoever executes it in another way.
    #[must_use]
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// What it needs to find in its environment: name and value.
    #[must_use]
    pub fn environment(&self) -> (String, PathBuf) {
        ("QEMU_MODULE_DIR".to_owned(), self.modules.clone())
    }

    /// A command that has only to be told what QEMU shall do. It ends when it is dropped.
    #[must_use]
    pub fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .env("QEMU_MODULE_DIR", &self.modules)
            .kill_on_drop(true);
        command
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn its_firmware_is_named_to_it() {
        let layer = tempfile::tempdir().unwrap();
        for file in [
            "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
            "usr/share/qemu/bios.bin",
            QEMU,
        ] {
            let path = layer.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = Program::in_layers(&[layer.path().to_path_buf()]).unwrap();
        let data = layer.path().join(DATA[0]).into();
        assert!(found.words.ends_with(&["-L".into(), data]), "{found:?}");
    }
}
