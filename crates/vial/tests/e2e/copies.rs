//! Files go in and out of nodes, whole and with all that belongs to them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;

use crate::lab::{Lab, eventually};

/// Everything about the files below a directory that `find` can say.
const FACTS: &str =
    "find . -printf '%P %y %m %U:%G %T@ %n %l %s\\0' | sort -z | tr '\\0\\n' '\\n?'";

#[test]
fn a_tree_comes_back_as_it_went() {
    let lab = Lab::up("copies", &["--workers", "2"]);
    let tree = lab.dir().join("tree");
    fs::create_dir_all(tree.join("sub/empty")).expect("made");
    fs::write(tree.join("sub/file"), "content\n").expect("written");
    fs::write(tree.join("new\nline"), "odd").expect("written");
    fs::hard_link(tree.join("sub/file"), tree.join("hard")).expect("linked");
    symlink("sub/file", tree.join("link")).expect("linked");
    fs::set_permissions(tree.join("sub/file"), fs::Permissions::from_mode(0o640)).expect("set");
    std::os::unix::fs::chown(tree.join("sub/file"), Some(1234), Some(5678)).expect("set");
    let sparse = fs::File::create(tree.join("sparse")).expect("made");
    sparse.set_len(200 << 20).expect("set");
    let facts = |dir: &Path| {
        lab.shell(&format!("cd \"$1\" && {FACTS}"), &[&text(dir)])
            .ok()
    };
    let expected = facts(&tree);

    // In, to another node, and out.
    lab.vial(["cp", "-c", "copies", &text(&tree), "w-1:/srv/tree"])
        .ok();
    lab.vial(["cp", "-c", "copies", "w-1:/srv/tree", "w-2:/srv"])
        .ok();
    let back = lab.dir().join("back");
    lab.vial(["cp", "-c", "copies", "w-2:/srv/tree", &text(&back)])
        .ok();
    assert_eq!(facts(&back), expected);
    let inside = format!("cd /srv/tree && {FACTS}");
    let on_node = lab.exec("copies", "w-2", &["sh", "-c", &inside]).ok();
    assert_eq!(on_node, expected);
    assert!(back.join("sparse").metadata().expect("there").blocks() < 1000);

    // Contents, several sources, a new name, another owner.
    lab.vial([
        "cp",
        "-c",
        "copies",
        &format!("{}/sub/.", text(&tree)),
        "w-1:/opt",
    ])
    .ok();
    lab.vial([
        "cp",
        "-c",
        "copies",
        "--no-owner",
        "w-1:/etc/hostname",
        "w-1:/opt/file",
        &text(&back),
    ])
    .ok();
    assert_eq!(
        fs::read_to_string(back.join("hostname")).expect("there"),
        "w-1\n"
    );
    assert_eq!(back.join("file").metadata().expect("there").uid(), 0);
    assert_eq!(
        back.join("file").metadata().expect("there").mode() & 0o7777,
        0o640
    );
    // Of a name without a slash at the beginning the root directory is meant; NODE.CLUSTER.vial needs no -c.
    lab.vial(["cp", "w-1.copies.vial:opt/file", &text(&back.join("again"))])
        .ok();
    assert_eq!(
        fs::read_to_string(back.join("again")).expect("there"),
        "content\n"
    );

    // As archives that any tar understands.
    let script = "tar c -C \"$1\" . | vial cp -c copies - w-1:/media; vial cp -c copies w-1:/media - | tar t";
    let listing = lab.shell(script, &[&text(&tree)]).ok();
    assert!(
        listing.contains("media/sub/empty/") && listing.contains("media/link"),
        "{listing}"
    );

    bad_input(&lab);
    interrupted(&lab);
    no_space(&lab);
}

/// Nothing is copied, and the person is told what to do.
fn bad_input(lab: &Lab) {
    let hosts = "w-1:/etc/hosts";
    let file = lab.file("some", "x");
    for (paths, code, words) in [
        (&["w1:/etc/hosts", "."][..], 3, "did you mean w-1"),
        (&["w-1:/etc/host", "."], 3, "w-1:/etc/host: it is not there"),
        (
            &["w-1:/etc/hosts", "/no/where"],
            2,
            "the directory /no is not there",
        ),
        (
            &[&file, "w-1:/no/where"],
            2,
            "the directory /no is not there",
        ),
        (
            &[&file, "w-1:/tmp/new/"],
            2,
            "the directory /tmp/new/ is not there",
        ),
        (&["w-1:/etc", &file], 2, "cannot be replaced by a directory"),
        (&[hosts, "/dev/null"], 2, "neither a file nor a directory"),
        (&[hosts, hosts], 2, "into itself"),
        (&["w-1:/etc", "w-1:/etc/etc"], 2, "into itself"),
        (&[&file, "elsewhere"], 2, "both on this machine"),
        (
            &["no-such-file", "w-1:/tmp"],
            3,
            "no-such-file: it is not there",
        ),
    ] {
        let ran = lab.vial([&["cp", "-c", "copies"], paths].concat());
        assert_eq!(ran.code, code, "{paths:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{paths:?}: {}", ran.stderr);
    }
    assert!(fs::metadata("/dev/null").is_ok_and(|null| !null.is_file()));
    assert_eq!(lab.exec("copies", "w-1", &["ls", "/tmp/new"]).code, 2);
}

/// A copy that is cut off in the middle leaves nothing half, and may be run again.
fn interrupted(lab: &Lab) {
    let listing = || {
        lab.exec(
            "copies",
            "w-1",
            &["sh", "-c", "cd /srv/cut && ls -A && cat big"],
        )
    };
    lab.exec(
        "copies",
        "w-1",
        &["sh", "-c", "mkdir /srv/cut && echo old > /srv/cut/big"],
    )
    .ok();
    // An archive that stops in the middle of a file.
    let mut header = tar::Header::new_gnu();
    header.set_path("big").expect("a path");
    header.set_size(1 << 30);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut copy = lab
        .command(["cp", "-c", "copies", "-", "w-1:/srv/cut"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vial runs");
    let mut archive = copy.stdin.take().expect("piped");
    archive.write_all(header.as_bytes()).expect("written");
    archive.write_all(&vec![7; 1 << 20]).expect("written");
    eventually("a part of the file arrives", || {
        let seen = listing().ok();
        seen.contains(".vial-cp-").then_some(()).ok_or(seen)
    });
    let pid = copy.id().to_string();
    lab.shell("kill -INT $1", &[&pid]).ok();
    let ended = copy.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    eventually("the part is removed", || {
        let seen = listing().ok();
        (seen == "big\nold").then_some(()).ok_or(seen)
    });
}

/// A full disk of a node has an exit code, and loses nothing of what was there.
fn no_space(lab: &Lab) {
    lab.exec(
        "copies",
        "w-1",
        &[
            "sh",
            "-c",
            "mkdir /small && mount -t tmpfs -o size=1m t /small",
        ],
    )
    .ok();
    lab.exec("copies", "w-1", &["sh", "-c", "echo old > /small/big"])
        .ok();
    let big = lab.dir().join("big");
    fs::write(&big, vec![7; 5 << 20]).expect("written");
    let ran = lab.vial(["cp", "-c", "copies", &text(&big), "w-1:/small/big"]);
    assert_eq!(ran.code, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("/small/big"), "{}", ran.stderr);
    let left = lab
        .exec(
            "copies",
            "w-1",
            &["sh", "-c", "ls -A /small; cat /small/big"],
        )
        .ok();
    assert_eq!(left, "big\nold");

    // So has one that cannot be written to.
    lab.exec("copies", "w-1", &["mount", "-o", "remount,ro", "/small"])
        .ok();
    let ran = lab.vial(["cp", "-c", "copies", &text(&big), "w-1:/small/big"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
