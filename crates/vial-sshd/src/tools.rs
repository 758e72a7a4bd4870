//! Programs beside the image's: `sudo`, and busybox's applets where the image has no shell.
//!
//! Everything is found where whoever filled the pod's volume put it, else made where that is possible, else done without.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::environment::Tools;
use crate::shell::is_program;

/// Where login shells, whose profile sets PATH anew, find `sudo`.
const USUAL: [&str; 3] = ["/usr/local/bin/sudo", "/usr/bin/sudo", "/bin/sudo"];
/// What every busybox with a shell has.
const APPLET: &str = "sh";

/// The busybox to use: the wanted one, else one beside this program.
pub(crate) fn busybox(wanted: Option<&Path>, program: &Path) -> Option<PathBuf> {
    let beside = || program.parent().map(|directory| directory.join("busybox"));
    wanted
        .map(Path::to_owned)
        .or_else(beside)
        .filter(|path| is_program(path))
}

/// Finds or makes them. `sudo` says whether there is a server that it could ask.
pub(crate) fn prepare(program: &Path, busybox: Option<&Path>, sudo: bool) -> Tools {
    let programs = sudo.then(|| sudo_beside(program)).flatten();
    if let Some(ours) = &programs
        && !USUAL.iter().any(|path| is_program(Path::new(path)))
    {
        // A read-only image has it in the PATH of sessions only.
        let _ = USUAL.iter().find(|path| symlink(ours, path).is_ok());
    }
    Tools {
        programs: programs.and_then(|sudo| sudo.parent().map(Path::to_owned)),
        first: rustix::thread::no_new_privs().unwrap_or(false),
        applets: busybox.and_then(applets),
    }
}

/// This program by the name of `sudo`: beside it, else in a directory of its own.
fn sudo_beside(program: &Path) -> Option<PathBuf> {
    let beside = program.parent()?.join("sudo");
    if is_program(&beside) || symlink(program, &beside).is_ok() {
        return Some(beside);
    }
    ["/run/vial-sshd", "/tmp/.vial-sshd"]
        .map(Path::new)
        .into_iter()
        .filter(|directory| own_directory(directory))
        .map(|directory| directory.join("sudo"))
        .find(|path| is_program(path) || symlink(program, path).is_ok())
}

/// A directory with a link for each applet.
fn applets(busybox: &Path) -> Option<PathBuf> {
    let beside = busybox.with_file_name("applets");
    if beside.join(APPLET).exists() {
        return Some(beside);
    }
    let list = Command::new(busybox).arg("--list").output().ok()?;
    let list = String::from_utf8(list.stdout).ok()?;
    [
        &beside,
        Path::new("/run/vial-sshd/applets"),
        Path::new("/tmp/.vial-sshd/applets"),
    ]
    .into_iter()
    .find(|directory| {
        let parent = directory.parent().is_some_and(own_directory);
        parent && own_directory(directory) && link(busybox, &list, directory)
    })
    .map(Path::to_owned)
}

fn link(busybox: &Path, list: &str, directory: &Path) -> bool {
    for applet in list.lines() {
        // There already after a restart.
        let _ = symlink(busybox, directory.join(applet));
    }
    directory.join(APPLET).exists()
}

/// Whether the directory is there, or could be made, and is this user's: nobody else may put programs into it.
fn own_directory(directory: &Path) -> bool {
    // There already after a restart; what is there is looked at.
    let _ = fs::create_dir(directory);
    fs::symlink_metadata(directory).is_ok_and(|found| {
        found.is_dir()
            && found.uid() == rustix::process::getuid().as_raw()
            && found.mode() & 0o022 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_somebody_else_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let ours = directory.path().join("ours");
        assert!(own_directory(&ours) && own_directory(&ours));
        let link = directory.path().join("link");
        symlink(&ours, &link).unwrap();
        assert!(!own_directory(&link));
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!own_directory(&ours));
    }
}
