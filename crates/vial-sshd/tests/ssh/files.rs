//! scp, sftp and rsync.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use crate::container::debian;
use crate::lab::{Ran, Server, lacks};

/// A tree with what trees have: modes, times, links, empty things, names that are no text.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("sub/empty")).unwrap();
    fs::write(root.join("file"), "hello\n").unwrap();
    fs::write(root.join("sub/large"), vec![7; 3 << 20]).unwrap();
    fs::write(root.join("sub/nothing"), "").unwrap();
    fs::write(root.join("a name with 'quotes' and $signs"), "x").unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"no text \xff")), "y").unwrap();
    fs::set_permissions(root.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(root.join("file"))
        .unwrap()
        .set_modified(old)
        .unwrap();
}

fn same(one: &Path, other: &Path) {
    for name in [
        "file",
        "sub/large",
        "sub/nothing",
        "a name with 'quotes' and $signs",
    ] {
        assert_eq!(
            fs::read(one.join(name)).unwrap(),
            fs::read(other.join(name)).unwrap(),
            "{name}"
        );
    }
    let odd = std::ffi::OsStr::from_bytes(b"no text \xff");
    assert_eq!(fs::read(other.join(odd)).unwrap(), b"y");
    assert!(other.join("sub/empty").is_dir());
    let (one, other) = (
        one.join("file").metadata().unwrap(),
        other.join("file").metadata().unwrap(),
    );
    assert_eq!((one.mode(), one.mtime()), (other.mode(), other.mtime()));
}

#[test]
fn scp_copies_trees_there_and_back() {
    if lacks(&["ssh", "scp", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let (here, there, back) = (
        server.path("here"),
        server.path("there"),
        server.path("back"),
    );
    tree(&here);
    let remote = format!("box:{}", there.display());
    let copy = |from: &str, to: &str| {
        server
            .run_client("scp", &["-s", "-r", "-p", from, to])
            .text()
    };
    copy(&here.display().to_string(), &remote);
    same(&here, &there);
    copy(&remote, &back.display().to_string());
    same(&here, &back);
    // Between two remote places, through here.
    let third = format!("box2:{}", server.path("third").display());
    server
        .run_client("scp", &["-s", "-3", "-r", "-p", &remote, &third])
        .text();
    same(&here, &server.path("third"));
    let missing = format!("box:{}", server.path("missing").display());
    let said = server.run_client("scp", &["-s", &missing, "/dev/null"]);
    assert!(said.failure().contains("No such file"), "{}", said.stderr);
}

/// Runs commands of sftp, each of which has to go well.
fn sftp(server: &Server, commands: &str) -> Ran {
    let batch = server.path("batch");
    fs::write(&batch, commands).unwrap();
    let batch = batch.display().to_string();
    server.run_client("sftp", &["-b", &batch, "box"])
}

#[test]
fn sftp_does_what_people_type() {
    if lacks(&["ssh", "sftp", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let (here, there) = (server.path("here"), server.path("there"));
    tree(&here);
    fs::create_dir(&there).unwrap();
    let (from, to) = (here.display(), there.display());
    let said = sftp(
        &server,
        &format!(
            "cd {to}\nlcd {from}\nmkdir d\nput file d/one\nrename d/one d/two\nln -s two d/link\nln d/two d/hard\n\
             chmod 600 d/two\nls -la d\nput -r sub\nget sub/large {to}/got\ndf {to}\nls -l d/link\nrm d/hard\npwd\n"
        ),
    );
    let text = said.text();
    let d = there.join("d");
    assert_eq!(fs::read(d.join("two")).unwrap(), b"hello\n");
    assert_eq!(d.join("two").metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_link(d.join("link")).unwrap(), Path::new("two"));
    assert!(!d.join("hard").exists());
    assert_eq!(fs::read(there.join("got")).unwrap().len(), 3 << 20);
    assert!(
        text.contains("-rw-------") && text.contains("lrwxrwxrwx"),
        "{text}"
    );
    assert!(text.contains("%Capacity"), "{text}");
    // Whatever is wrong is said, and the transfer goes on.
    for (commands, expected) in [
        ("get /no/such/file", "not found"),
        ("rmdir there/d", "No such file"),
        (&format!("rmdir {to}/d")[..], "Failure"),
        (&format!("mkdir {to}/d")[..], "Failure"),
    ] {
        let said = sftp(&server, commands);
        assert!(
            said.failure().contains(expected),
            "{commands}: {}",
            said.stderr
        );
    }
}

#[test]
fn sftp_goes_on_where_it_was_cut() {
    if lacks(&["ssh", "sftp", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let bytes: Vec<u8> = (0..2_u32 << 20)
        .map(|number| (number % 251) as u8)
        .collect();
    let (whole, part, sent) = (
        server.path("whole"),
        server.path("part"),
        server.path("sent"),
    );
    fs::write(&whole, &bytes).unwrap();
    fs::write(&part, &bytes[..1 << 20]).unwrap();
    fs::write(&sent, &bytes[..12345]).unwrap();
    let commands = format!(
        "reget {0} {1}\nreput {0} {2}\n",
        whole.display(),
        part.display(),
        sent.display()
    );
    sftp(&server, &commands).text();
    assert_eq!(fs::read(&part).unwrap(), bytes);
    assert_eq!(fs::read(&sent).unwrap(), bytes);
}

#[test]
fn a_link_is_copied_as_what_it_leads_to_and_removed_as_itself() {
    if lacks(&["ssh", "sftp", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    fs::write(server.path("target"), "t").unwrap();
    symlink("target", server.path("link")).unwrap();
    let path = server.path("");
    let path = path.display();
    sftp(
        &server,
        &format!("get {path}/link {path}/copy\nrm {path}/link\n"),
    )
    .text();
    assert_eq!(fs::read(server.path("copy")).unwrap(), b"t");
    assert!(server.path("target").exists() && !server.path("link").exists());
}

#[test]
fn rsync_finds_itself_on_both_sides() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let Some(programs) = debian() else { return };
    let server = Server::start(&[]);
    let (here, there) = (server.path("here"), server.path("there"));
    tree(&here);
    let rsync = programs.program(server.directory.path(), "rsync");
    let mut command = std::process::Command::new(&rsync);
    command
        .args(["-a", "-e"])
        .arg(format!("ssh -F {}", server.path("config").display()))
        .arg("--rsync-path")
        .arg(&rsync)
        .arg(format!("{}/", here.display()))
        .arg(format!("box:{}/", there.display()));
    Ran::of(command.output().unwrap()).text();
    same(&here, &there);
}
