//! Base images of Debian packages: made without a registry, the same each time, and a Debian to live in as a pod.
//!
//! The first run on a machine fetches the packages from the Debian archive; what is kept in VIAL_TEST_HOME does without a
//! network for a week.

use std::fs;

use crate::lab::Lab;

/// Packages and choice of a base image are in the cache afterwards: what is made of the same ones needs no network.
pub(crate) fn cached(lab: &Lab, flags: &[&str]) {
    let file = lab.dir().join("cached.tar").display().to_string();
    let make = ["image", "debian", "-o", &file];
    lab.vial([&make[..], flags].concat()).ok();
}

#[test]
fn a_base_image_is_a_debian_to_live_in() {
    let lab = Lab::up("based", &["--workers", "1"]);
    let flags = ["--packages", "sudo", "--init"];
    cached(&lab, &flags);
    let make = ["image", "debian", "box:v1", "-c", "based", "-o", "json"];
    let made = lab.vial([&make[..], &flags].concat()).json();
    assert_eq!(made[0]["name"], "docker.io/library/box:v1");
    assert_eq!(made[0]["nodes"], serde_json::json!(["cp-1", "w-1"]));
    lab.apply(
        "based",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: box}\nspec: {containers: [{name: c, image: 'box:v1'}]}\n",
    );
    lab.await_pod("based", "box");
    let inside = |script: &str| {
        let exec = ["exec", "box", "--", "sh", "-ec", script];
        lab.kubectl("based", &exec).ok()
    };
    let status = inside("dpkg-query -f '${db:Status-Abbrev}' -W apt bash sudo tini; dpkg --audit");
    assert_eq!(status, "ii ii ii ii");
    inside("apt-get check");
    assert_eq!(inside("cat /proc/1/comm"), "tini");
    assert_eq!(
        inside("useradd -m -s /bin/bash ann; su - ann -c 'id -un; echo $LANG'"),
        "ann\nC.UTF-8"
    );
    inside("echo 'ann ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ann");
    assert_eq!(inside("su ann -c 'sudo id -un'"), "root");
    let sources = inside("cat /etc/apt/sources.list.d/debian.sources");
    assert!(
        sources.contains("Suites: trixie trixie-updates\n"),
        "{sources}"
    );

    // The same packages, made again: the same bytes, and the digest that the nodes have.
    let kept = lab.home().join("cache/debian-images");
    fs::remove_dir_all(&kept).expect("removed");
    let archive = |name: &str| {
        let file = lab.dir().join(name).display().to_string();
        let write = ["image", "debian", "box:v1", "-o", &file];
        (lab.vial([&write[..], &flags].concat()).ok(), file)
    };
    let ((digest, one), (_, two)) = (archive("one.tar"), archive("two.tar"));
    assert_eq!(made[0]["digest"], digest);
    assert!(
        fs::read(&one).expect("read") == fs::read(&two).expect("read"),
        "two archives differ"
    );
    lab.vial(["image", "load", &one, "-t", "again:v1", "-c", "based"])
        .ok();
    lab.vial(["down", "based"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn what_cannot_be_a_base_image_is_told_before_anything_is_made() {
    let lab = Lab::new(&[]);
    let missing = lab.dir().join("missing/base.tar").display().to_string();
    for (args, code, said) in [
        (&["-o", &missing][..], 3, "there is no directory"),
        (&["-o", "/"], 2, "is a directory"),
        (&["Not A Name"], 2, "Not A Name"),
        (&["--env", "NAME"], 2, "NAME=VALUE"),
        (&["--entrypoint", "[sh"], 2, "not a list of strings"),
        (&["-c", "nowhere"], 3, "there is no cluster `nowhere`"),
    ] {
        let ran = lab.vial([&["image", "debian"][..], args].concat());
        assert_eq!(ran.code, code, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(said), "{args:?}: {ran:?}");
    }
}
