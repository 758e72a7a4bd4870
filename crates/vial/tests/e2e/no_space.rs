//! A disk that becomes full: it is told what could not be written and what to do, nothing half made stays, and the same
//! command works once there is room.
//!
//! The small disk is a tmpfs, in a mount namespace that only the one who writes sees: of one command, or of the container
//! that has the disk. The host's mounts stay as they are.

use std::process::{Command, Output};

use crate::base_image;
use crate::crane::{crane, run_crane, toolbox};
use crate::lab::{Lab, Ran};

/// Runs a script in the mount namespace of a container's first process, with the node image's programs.
fn in_container(lab: &Lab, cluster: &str, container: &str, script: &str) -> Ran {
    let pid = lab.agent_pid(cluster, container).to_string();
    let enter = "nsenter --mount --target \"$1\" sh -ec \"$2\"";
    lab.shell(enter, &[&pid, script])
}

fn try_crane(args: &[&str]) -> Output {
    Command::new(crane()).args(args).output().expect("crane")
}

#[test]
fn a_load_that_finds_no_room_is_told_and_leaves_nothing() {
    let lab = Lab::up("full", &["--workers", "0"]);
    let archive = toolbox(&lab, "full");
    let images = lab.cluster_dir("full").join("images");
    std::fs::create_dir_all(&images).expect("made");
    let images = images.to_string_lossy();
    // Of a file it is known before that it does not fit; of a pipe only when a blob or a layer does not.
    for (size, from) in [
        ("1m", archive.as_str()),
        ("1m", "-"),
        ("20m", "-"),
        ("60m", "-"),
    ] {
        let script = r#"
exec unshare --mount --propagation private sh -ec '
  mount -t tmpfs -o size=$3 tmpfs "$1"
  code=0
  vial image load "$4" -t full.example/x:v1 -c full < "$2" || code=$?
  find "$1" -mindepth 1 ! -type d ! -name .lock
  find "$1/layers" "$1/tmp" -mindepth 1
  exit $code
' sh "$@""#;
        let ran = lab.shell(script, &[&images, &archive, size, from]);
        assert_eq!(ran.code, 6, "{size} {from}: {ran:?}");
        assert_eq!(ran.stdout, "", "{size} {from}: left behind");
        let named = match from {
            "-" => "cannot load standard input: ",
            _ => "toolbox.tar: ",
        };
        for word in [
            "error: cannot load ",
            named,
            "space",
            "hint: free some space",
        ] {
            assert!(ran.stderr.contains(word), "{size} {from}, {word}: {ran:?}");
        }
        let list = lab.vial(["image", "ls", "-c", "full", "-o", "name"]).ok();
        assert!(!list.contains("full.example"), "{list}");
    }
    let tag = ["-t", "full.example/x:v1", "-c", "full"];
    lab.vial([&["image", "load", &archive], &tag[..]].concat())
        .ok();
    lab.vial(["down", "full"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn a_base_image_that_finds_no_room_is_told_and_leaves_nothing() {
    let lab = Lab::new(&[]);
    let flags = ["--packages", "sudo", "--init"];
    base_image::cached(&lab, &flags);
    let kept = lab.home().join("cache/debian-images");
    let small = lab.dir().join("small");
    std::fs::create_dir(&small).expect("made");
    let (kept, small) = (kept.to_string_lossy(), small.to_string_lossy());
    // Where it is made, and where the archive of one that was made already is written.
    for (disk, of) in [(&kept, "debian-images/tmp"), (&small, "small/base.tar")] {
        let script = r#"
exec unshare --mount --propagation private sh -ec '
  mount -t tmpfs -o size=1m tmpfs "$1"
  code=0
  vial image debian --packages sudo --init -o "$2/base.tar" || code=$?
  find "$1" -mindepth 1 ! -type d ! -name .lock
  exit $code
' sh "$@""#;
        let ran = lab.shell(script, &[disk, &small]);
        assert_eq!(ran.code, 6, "{of}: {ran:?}");
        assert_eq!(ran.stdout, "", "{of}: left behind");
        for word in [of, "hint: free some space"] {
            assert!(ran.stderr.contains(word), "{of}, {word}: {ran:?}");
        }
    }
    base_image::cached(&lab, &flags);
}

#[test]
fn a_push_that_finds_no_room_is_told_and_leaves_nothing() {
    let lab = Lab::up("cramped", &["--workers", "0"]);
    let archive = toolbox(&lab, "cramped");
    let host = lab.vial(["registry", "-c", "cramped", "-o", "name"]).ok();
    let (repository, image) = (format!("{host}/big"), format!("{host}/big:v1"));
    let mount = |options: &str| {
        let script = format!("mount {options} tmpfs /var/lib/registry");
        in_container(&lab, "cramped", "registry", &script).ok();
    };
    mount("-t tmpfs -o size=8m");
    let pushed = try_crane(&["push", &archive, &image]);
    let said = String::from_utf8_lossy(&pushed.stderr);
    assert!(!pushed.status.success(), "{said}");
    for word in [&*host, "/v2/big/", "no space left on device"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // Nobody sees half an image, and its bytes go, although there is no room to write down that they shall.
    assert!(try_crane(&["ls", &repository]).stdout.is_empty());
    let bytes = || {
        let find = "find /var/lib/registry -type f -size +4k";
        in_container(&lab, "cramped", "registry", find).ok()
    };
    assert!(!bytes().is_empty());
    lab.vial(["registry", "gc", "--untagged", "-c", "cramped"])
        .ok();
    assert_eq!(bytes(), "");
    mount("-o remount,size=200m");
    run_crane(&["push", &archive, &image]);
    assert_eq!(run_crane(&["ls", &repository]), "v1");
    lab.vial(["down", "cramped"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn a_copy_that_finds_no_room_on_a_node_is_told_and_leaves_nothing() {
    let lab = Lab::up("narrow", &["--workers", "0"]);
    let big = lab.file("big", &"x".repeat(4 * 1024 * 1024));
    let on_node = |script: &str| lab.exec("narrow", "cp-1", &["sh", "-ec", script]).ok();
    on_node("mkdir -p /mnt/small && mount -t tmpfs -o size=1m tmpfs /mnt/small");
    let copy = || lab.vial(["cp", &big, "cp-1:/mnt/small/big", "-c", "narrow"]);
    let ran = copy();
    assert_eq!(ran.code, 6, "{ran:?}");
    for word in [
        "error: cannot copy",
        "cp-1:/mnt/small/big",
        "hint: free some space",
    ] {
        assert!(ran.stderr.contains(word), "{word}: {ran:?}");
    }
    assert_eq!(on_node("find /mnt/small -mindepth 1"), "");
    on_node("mount -o remount,size=16m /mnt/small");
    copy().ok();
    lab.vial(["down", "narrow"]).ok();
    lab.assert_nothing_left();
}
