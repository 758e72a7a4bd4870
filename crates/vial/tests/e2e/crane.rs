//! A client of registries: what people push with, and how a new image is made of one that nodes have.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::lab::Lab;

/// A registry client that many people use, built from its Go module.
pub(crate) fn crane() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("crane");
        let module = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg("github.com/google/go-containerregistry/cmd/crane")
            .current_dir(module)
            .status();
        assert!(built.expect("go, to build crane").success());
        program
    };
    BUILT.get_or_init(build).clone()
}

#[track_caller]
pub(crate) fn run_crane(args: &[&str]) -> String {
    let output = Command::new(crane()).args(args).output().expect("crane");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "crane {args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// An image that every node has, as an archive: to be pushed under another name.
pub(crate) fn toolbox(lab: &Lab, cluster: &str) -> String {
    let path = lab.file("toolbox.tar", "");
    // `--local`: containerd's other way ends before its last bytes are written when the reader is slow.
    let export = ["ctr", "-n", "k8s.io", "images", "export", "--local", "-"];
    let exported = lab
        .command(["exec", "-c", cluster, "cp-1", "--"])
        .args(export)
        .arg("docker.io/vial/toolbox:latest")
        .stdout(std::fs::File::create(&path).expect("a file"))
        .stderr(Stdio::null())
        .status();
    assert!(exported.expect("vial runs").success());
    path
}
