//! The QEMU of a node image, executed where its layers lie unpacked: for what the host itself asks of it.
//!
//! Nothing is mounted, and no right is needed: the image's own dynamic loader is given the layers' libraries
//! (ld.so(8)). Machines do not run so; they run in a container, whose root file system is the image.

use std::path::{Path, PathBuf};

const QEMU: &str = "usr/bin/qemu-system-x86_64";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";
/// Where firmware lies.
const DATA: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// A QEMU that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program and what comes before its own arguments.
    words: Vec<PathBuf>,
    modules: PathBuf,
}

impl Program {
    /// Finds QEMU in unpacked layers, the topmost first; `None` where the image has none (`--no-vm`).
    #[must_use]
    pub fn in_layers(layers: &[PathBuf]) -> Option<Self> {
        let in_layers = |path: &str| {
            let paths = layers.iter().map(|layer| layer.join(path));
            paths.filter(|path| path.exists()).collect::<Vec<_>>()
        };
        let qemu = in_layers(QEMU).into_iter().next()?;
        let libraries = in_layers(LIBRARIES);
        let loader = libraries
            .iter()
            .map(|libraries| libraries.join(LOADER))
            .find(|loader| loader.exists())?;
        let path = std::env::join_paths(&libraries).ok()?;
        let modules = qemu_modules(&libraries);
        let mut words = vec![loader, "--library-path".into(), path.into(), qemu];
        for data in DATA.into_iter().flat_map(in_layers) {
            words.extend(["-L".into(), data]);
        }
        Some(Self { words, modules })
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

fn qemu_modules(libraries: &[PathBuf]) -> PathBuf {
    let mut modules = libraries.iter().map(|libraries| libraries.join("qemu"));
    let found = modules.find(|modules| modules.exists());
    found.unwrap_or_else(|| Path::new("/nonexistent").to_path_buf())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_put_together_from_several_layers() {
        let image = tempfile::tempdir().unwrap();
        let [base, vm] = ["base", "vm"].map(|layer| image.path().join(layer));
        for (layer, file) in [
            (&base, "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
            (&vm, "usr/lib/x86_64-linux-gnu/libpixman-1.so.0"),
            (&vm, "usr/bin/qemu-system-x86_64"),
            (&vm, "usr/share/qemu/bios.bin"),
        ] {
            let path = layer.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(Program::in_layers(std::slice::from_ref(&base)), None);
        assert_eq!(Program::in_layers(std::slice::from_ref(&vm)), None);
        let found = Program::in_layers(&[vm.clone(), base.clone()]).unwrap();
        assert_eq!(found.words[0], base.join(LIBRARIES).join(LOADER));
        let both = format!(
            "{}:{}",
            vm.join(LIBRARIES).display(),
            base.join(LIBRARIES).display()
        );
        assert_eq!(found.words[2], Path::new(&both));
        assert_eq!(
            found.words[3..],
            [vm.join(QEMU), "-L".into(), vm.join(DATA[0])]
        );
    }
}
