//! `vial-sshd install DIR`: the programs of a pod, put where its containers look for them.
//!
//! An init container does it, from an image that holds this program and, where wanted, a static busybox; or the program
//! was put together in there, and carries the busybox itself ([`bundle`]). The directory is a volume that the pod's own
//! container sees too.
//!
//! ```text
//!  DIR/vial-sshd   this program
//!  DIR/sudo        a link to it
//!  DIR/busybox     that in this program, else beside it, else /busybox, else none
//!  DIR/applets/    a link to it for everything it can
//! ```
//! # On failure
//! Every file is made aside and renamed: what was there stays whole, a rest is overwritten by the next call. Nothing needs
//! rights beyond writing to the directory. Links are relative, so the volume may be mounted anywhere.

mod bundle;

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::is_program;
use bundle::Bundle;

/// Where an image of this program has its busybox, if not beside it.
const BUSYBOX: &str = "/busybox";

/// Why the programs are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error("cannot read this program")]
    Program { source: io::Error },
    #[error("cannot read {}", path.display())]
    Busybox { path: PathBuf, source: io::Error },
    #[error("cannot make the directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot ask {} what it can do", path.display())]
    Ask { path: PathBuf, source: io::Error },
    #[error("{} has no applets: {said}", path.display())]
    Applets { path: PathBuf, said: String },
}

/// Puts this program and what belongs to it into `directory`.
pub(crate) fn install(directory: &Path) -> Result<(), InstallError> {
    let failed = |source| InstallError::Program { source };
    // By way of the kernel: there even when its path is not.
    let program = File::open("/proc/self/exe").map_err(failed)?;
    let named = std::env::current_exe().map_err(failed)?;
    let beside = [named.with_file_name("busybox"), BUSYBOX.into()]
        .into_iter()
        .find(|path| is_program(path));
    from(program, beside.as_deref(), directory)
}

fn from(mut program: File, beside: Option<&Path>, directory: &Path) -> Result<(), InstallError> {
    let failed = |source| InstallError::Program { source };
    let bundle = Bundle::of(&mut program).map_err(failed)?;
    fs::create_dir_all(directory).map_err(|source| InstallError::Directory {
        path: directory.to_owned(),
        source,
    })?;
    if let Some(length) = bundle.busybox {
        program
            .seek(SeekFrom::Start(bundle.program))
            .map_err(failed)?;
        put_busybox((&program).take(length), directory)?;
    } else if let Some(path) = beside {
        let busybox = File::open(path).map_err(|source| InstallError::Busybox {
            path: path.to_owned(),
            source,
        })?;
        put_busybox(busybox, directory)?;
    }
    program.rewind().map_err(failed)?;
    let place = directory.join("vial-sshd");
    let aside = write_aside(program.take(bundle.program), &place)?;
    appear(&aside, &place)?;
    link("vial-sshd", &directory.join("sudo"))
}

/// `busybox` and `applets/`. One that does not run here is not put there.
fn put_busybox(bytes: impl Read, directory: &Path) -> Result<(), InstallError> {
    let place = directory.join("busybox");
    let aside = write_aside(bytes, &place)?;
    let linked = applets(&aside).and_then(|applets| link_all(&applets, directory));
    if let Err(error) = linked {
        // What is wrong is said either way.
        let _ = remove(&aside);
        return Err(error);
    }
    appear(&aside, &place)
}

/// The names it is to be called by.
fn applets(busybox: &Path) -> Result<Vec<String>, InstallError> {
    // Aside it has another name, by which it would take itself for an applet.
    let output = Command::new(busybox).arg0("busybox").arg("--list").output();
    let output = output.map_err(|source| InstallError::Ask {
        path: busybox.to_owned(),
        source,
    })?;
    let names: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .map(str::to_owned)
        .collect();
    if !output.status.success() || names.is_empty() {
        return Err(InstallError::Applets {
            path: busybox.to_owned(),
            said: format!(
                "{}, {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            ),
        });
    }
    Ok(names)
}

/// `applets/`, whole when it appears.
fn link_all(applets: &[String], directory: &Path) -> Result<(), InstallError> {
    let place = directory.join("applets");
    if place.is_dir() {
        return fill(applets, &place);
    }
    let aside = aside(&place);
    let failed = |source| InstallError::Write {
        path: place.clone(),
        source,
    };
    if !aside.is_dir() {
        fs::create_dir(&aside).map_err(failed)?;
    }
    fill(applets, &aside)?;
    fs::rename(&aside, &place).map_err(failed)
}

fn fill(applets: &[String], place: &Path) -> Result<(), InstallError> {
    applets
        .iter()
        .try_for_each(|applet| link("../busybox", &place.join(applet)))
}

/// A program beside where it is to be, executable by everybody.
fn write_aside(mut bytes: impl Read, to: &Path) -> Result<PathBuf, InstallError> {
    let aside = aside(to);
    let written = (|| {
        remove(&aside)?;
        let mut file = File::create_new(&aside)?;
        io::copy(&mut bytes, &mut file)?;
        file.set_permissions(fs::Permissions::from_mode(0o755))
    })();
    match written {
        Ok(()) => Ok(aside),
        Err(source) => {
            // It may not have come so far; what is wrong is said either way.
            let _ = remove(&aside);
            let path = to.to_owned();
            Err(InstallError::Write { path, source })
        }
    }
}

fn appear(aside: &Path, to: &Path) -> Result<(), InstallError> {
    fs::rename(aside, to).map_err(|source| InstallError::Write {
        path: to.to_owned(),
        source,
    })
}

/// A link at `to`.
fn link(target: &str, to: &Path) -> Result<(), InstallError> {
    if fs::read_link(to).is_ok_and(|found| found == Path::new(target)) {
        return Ok(());
    }
    let aside = aside(to);
    let linked = || {
        remove(&aside)?;
        symlink(target, &aside)?;
        fs::rename(&aside, to)
    };
    linked().map_err(|source| InstallError::Write {
        path: to.to_owned(),
        source,
    })
}

fn aside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    path.with_file_name(format!(".{}.new", name.display()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that answers as busybox does.
    fn busybox(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("busybox");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn program(directory: &Path, text: &str) -> File {
        let path = directory.join("program");
        fs::write(&path, text).unwrap();
        File::open(path).unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn everything_is_there_and_may_be_put_there_again() {
        let image = tempfile::tempdir().unwrap();
        let busybox = busybox(image.path(), "echo sh; echo ls");
        let volume = tempfile::tempdir().unwrap();
        let place = volume.path().join("bin");
        for text in ["first", "second, which is longer", "third"] {
            let program = program(image.path(), text);
            from(program, Some(&busybox), &place).unwrap();
            assert_eq!(names(&place), ["applets", "busybox", "sudo", "vial-sshd"]);
            assert_eq!(fs::read_to_string(place.join("sudo")).unwrap(), text);
            let mode = fs::metadata(place.join("vial-sshd")).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o755);
            assert_eq!(names(&place.join("applets")), ["ls", "sh"]);
            assert!(is_program(&place.join("applets/sh")));
        }
    }

    #[test]
    fn a_rest_of_a_call_that_was_cut_does_not_matter() {
        let image = tempfile::tempdir().unwrap();
        let busybox = busybox(image.path(), "echo sh");
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(".vial-sshd.new"), "half").unwrap();
        fs::create_dir(place.path().join(".applets.new")).unwrap();
        symlink("elsewhere", place.path().join(".applets.new/sh")).unwrap();
        from(program(image.path(), "whole"), Some(&busybox), place.path()).unwrap();
        assert_eq!(
            names(place.path()),
            ["applets", "busybox", "sudo", "vial-sshd"]
        );
        assert!(is_program(&place.path().join("applets/sh")));
    }

    #[test]
    fn without_busybox_there_is_the_server_alone() {
        let image = tempfile::tempdir().unwrap();
        let place = tempfile::tempdir().unwrap();
        from(program(image.path(), "x"), None, place.path()).unwrap();
        assert_eq!(names(place.path()), ["sudo", "vial-sshd"]);
    }

    #[test]
    fn what_is_wrong_is_named_and_changes_nothing() {
        let image = tempfile::tempdir().unwrap();
        let program = || program(image.path(), "x");
        let place = tempfile::tempdir().unwrap();
        let broken = busybox(image.path(), "echo no applet >&2; exit 3");
        let error = from(program(), Some(&broken), place.path()).unwrap_err();
        assert!(
            error.to_string().contains("no applet") && error.to_string().contains("status: 3"),
            "{error}"
        );
        assert_eq!(names(place.path()), [""; 0]);
        let file = image.path().join("program/bin");
        let error = from(program(), None, &file).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot make the directory"),
            "{error}"
        );
    }
}
