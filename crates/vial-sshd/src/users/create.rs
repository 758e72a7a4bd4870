//! Writes what the plan of a user says: lines of files, the home, the rule for the image's own sudo.
//!
//! Nothing here is fatal: what cannot be written is told, and sessions work without it. Each piece can be done again.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::Path;

use super::{Account, Plan};

/// Does it below `root`, and returns what went wrong, a line each.
pub(super) fn create(root: &Path, plan: &Plan) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            complaints.push(format!("cannot {what}: {error}"));
        }
    };
    for (file, line) in [
        ("etc/group", &plan.group),
        ("etc/passwd", &plan.passwd),
        ("etc/shadow", &plan.shadow),
    ] {
        let path = root.join(file);
        if let Some(line) = line
            && (file != "etc/shadow" || path.exists())
        {
            note(&format!("add the user to /{file}"), append(&path, line));
        }
    }
    let account = &plan.account;
    note(
        &format!("make the home {}", account.home.display()),
        home(root, account),
    );
    note("let the image's own sudo in", sudoers(root, account));
    complaints
}

/// Adds a line in place: a file that is a mount of its own cannot be replaced.
fn append(path: &Path, line: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let old = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        old => old?,
    };
    let unfinished = old.last().is_some_and(|last| *last != b'\n');
    let text = format!("{}{line}\n", if unfinished { "\n" } else { "" });
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644);
    options.open(path)?.write_all(text.as_bytes())
}

fn home(root: &Path, account: &Account) -> io::Result<()> {
    let home = below(root, &account.home);
    if home.exists() {
        return Ok(());
    }
    if let Some(parent) = home.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o755).create(&home)?;
    let skeleton = root.join("etc/skel");
    for entry in fs::read_dir(skeleton).into_iter().flatten().flatten() {
        // Files only: what distributions put there.
        let target = home.join(entry.file_name());
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), &target)?;
            chown(&target, Some(account.uid), Some(account.gid))?;
        }
    }
    chown(&home, Some(account.uid), Some(account.gid))
}

fn sudoers(root: &Path, account: &Account) -> io::Result<()> {
    let directory = root.join("etc/sudoers.d");
    if !directory.is_dir() || account.uid == 0 {
        return Ok(());
    }
    // sudo passes over files with a dot in their name.
    let path = directory.join(format!("vial-{}", account.name.replace('.', "_")));
    fs::write(
        &path,
        format!("{} ALL=(ALL:ALL) NOPASSWD:ALL\n", account.name),
    )?;
    fs::set_permissions(&path, Permissions::from_mode(0o440))
}

/// `path` as it is in the file system below `root`.
fn below(root: &Path, path: &Path) -> std::path::PathBuf {
    let parts = path.components().filter_map(|part| match part {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    });
    root.join(parts.collect::<Vec<&OsStr>>().join(OsStr::new("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::{Database, Wanted, plan};

    /// A plan for somebody with the numbers of whoever runs the test, so that chown works.
    fn somebody(root: &Path) -> Plan {
        let wanted = Wanted {
            name: Some("ann".into()),
            uid: Some(rustix::process::getuid().as_raw()),
            ..Wanted::default()
        };
        let mut plan = plan(&wanted, &Database::read(root), &|_| false);
        plan.account.gid = rustix::process::getgid().as_raw();
        plan
    }

    #[test]
    fn files_get_lines_and_the_home_its_skeleton() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("etc/skel")).unwrap();
        fs::write(root.join("etc/skel/.profile"), "hello").unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh").unwrap();
        assert_eq!(create(root, &somebody(root)), [""; 0]);
        let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap();
        assert!(
            passwd.starts_with("root:x:0:0::/root:/bin/sh\nann:x:"),
            "{passwd}"
        );
        assert!(passwd.ends_with(":/home/ann:/bin/sh\n"), "{passwd}");
        assert_eq!(fs::read(root.join("home/ann/.profile")).unwrap(), b"hello");
        assert!(!root.join("etc/shadow").exists());
        // Again: the user is there now.
        assert_eq!(create(root, &somebody(root)), [""; 0]);
        assert_eq!(fs::read_to_string(root.join("etc/passwd")).unwrap(), passwd);
    }

    #[test]
    fn what_cannot_be_written_is_told_and_the_rest_is_done() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("etc/passwd")).unwrap();
        let complaints = create(root, &somebody(root));
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("/etc/passwd"), "{complaints:?}");
        assert!(root.join("home/ann").is_dir());
    }
}
