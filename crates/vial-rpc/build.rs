//! Compiles the protocol with a protoc in Rust, so that no protoc has to be installed.
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = [
        "init",
        "agent",
        "containerd/content",
        "containerd/cri",
        "containerd/diff",
        "containerd/images",
        "containerd/leases",
        "containerd/snapshots",
    ]
    .map(|name| format!("proto/{name}.proto"));
    let files = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        // Files' content is passed on without being copied.
        .bytes(".vial.v1.ReadTreePart")
        .bytes(".vial.v1.WriteTreePart")
        .compile_fds(files)?;
    Ok(())
}
