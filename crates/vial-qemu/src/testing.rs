//! The QEMU that tests use: that of a node image in the store of the tests.

use std::path::PathBuf;

use crate::Program;

/// `VIAL_TEST_HOME`, as for the end-to-end tests; where it is not set the test says so, and is skipped.
pub(crate) fn program() -> Option<Program> {
    told(Program::in_layers(&layers()))
}

/// `qemu-img` beside it.
pub(crate) fn qemu_img() -> Option<vial_sys::program::Program> {
    told(vial_sys::program::Program::in_layers(
        &layers(),
        "usr/bin/qemu-img",
    ))
}

/// All of all images: the libraries of one Debian release fit each other.
fn layers() -> Vec<PathBuf> {
    let layers = std::env::var_os("VIAL_TEST_HOME").map(|home| {
        let unpacked = PathBuf::from(home).join("images/unpacked");
        let entries = std::fs::read_dir(unpacked).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    });
    layers.unwrap_or_default()
}

fn told<T>(program: Option<T>) -> Option<T> {
    if program.is_none() {
        vial_testing::skip("VIAL_TEST_HOME has no node image with QEMU");
    }
    program
}
