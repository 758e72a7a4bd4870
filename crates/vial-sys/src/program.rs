//! Programs of a root file system whose layers lie unpacked beside each other, executed where they are.
//!
//! Nothing is mounted, and no right is needed: the root file system's own dynamic loader is given the layers' libraries
//! (ld.so(8)). The program sees the host's files; what it would look for below /etc or /usr has to be named to it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const LOADER: &str = "ld-linux-x86-64.so.2";

/// A program that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    loader: PathBuf,
    /// Topmost first.
    libraries: Vec<PathBuf>,
    /// As the loader takes them.
    search: OsString,
    file: PathBuf,
}

impl Program {
    /// Finds `path` (`usr/bin/mkfs.erofs`), with its loader, in unpacked layers, the topmost first; `None` where there is
    /// none.
    #[must_use]
    pub fn in_layers(layers: &[PathBuf], path: impl AsRef<Path>) -> Option<Self> {
        let file = all(layers, path.as_ref()).next()?;
        let libraries: Vec<_> = all(layers, Path::new(LIBRARIES)).collect();
        let mut loaders = libraries.iter().map(|libraries| libraries.join(LOADER));
        Some(Self {
            loader: loaders.find(|loader| loader.exists())?,
            search: std::env::join_paths(&libraries).ok()?,
            libraries,
            file,
        })
    }

    /// What is executed: the loader, its own options, the program. The program's arguments follow.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let [loader, file] = [&self.loader, &self.file].map(OsString::from);
        vec![loader, "--library-path".into(), self.search.clone(), file]
    }

    /// A command that has only to be told the program's arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    /// Where its libraries lie, the topmost layer first: what it loads itself lies below.
    #[must_use]
    pub fn libraries(&self) -> &[PathBuf] {
        &self.libraries
    }
}

/// Every layer's own of a path.
pub fn all<'a>(layers: &'a [PathBuf], path: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    let paths = layers.iter().map(move |layer| layer.join(path));
    paths.filter(|path| path.exists())
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
            (&vm, "usr/bin/qemu"),
        ] {
            let path = layer.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |layers: &[PathBuf]| Program::in_layers(layers, "usr/bin/qemu");
        assert_eq!(found(std::slice::from_ref(&base)), None);
        assert_eq!(found(std::slice::from_ref(&vm)), None);
        let program = found(&[vm.clone(), base.clone()]).unwrap();
        let both = [&vm, &base].map(|layer| layer.join(LIBRARIES));
        assert_eq!(program.libraries(), both);
        let [vms, bases] = both;
        let search = format!("{}:{}", vms.display(), bases.display());
        let expected: [OsString; 4] = [
            bases.join(LOADER).into(),
            "--library-path".into(),
            search.into(),
            vm.join("usr/bin/qemu").into(),
        ];
        assert_eq!(program.words(), expected);
    }
}
