//! Builds the small programs that this crate holds: compressed, and with the digests of what they were.
//!
//! It is a cargo of its own, because nothing else makes a program part of another one: a dependency on a program
//! (`artifact = "bin"`) is not to be had with a stable cargo, and the vial binary itself is far too large to be copied into
//! every pod, or to be the first thing a machine reads. The inner build has its own profile (`pod`), the workspace's flags (.cargo/config.toml is found from the
//! workspace's directory), and nothing of what the outer one is about: no lints, no coverage, no other target.

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

/// The packages, each with one program of the same name.
const PROGRAMS: [&str; 2] = ["vial-sshd", "vial-boot"];
/// What of the outer cargo's variables is the person's own choice, and holds for both.
const KEPT: [&str; 9] = [
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_CACHE_",
    "CARGO_BUILD_JOBS",
];
/// What is the outer build's, beside all else that begins with `CARGO`. Build scripts of the inner one would run again
/// whenever it differs, which for `OUT_DIR` is with every profile and tool.
const DROPPED: [&str; 12] = [
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "__CARGO_DEFAULT_LIB_METADATA",
    "OUT_DIR",
    "TARGET",
    "HOST",
    "PROFILE",
    "OPT_LEVEL",
    "DEBUG",
    "NUM_JOBS",
];

fn main() -> Result<(), Box<dyn Error>> {
    let crate_directory = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = crate_directory.join("../..").canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let built = target_directory(&out);
    build(&workspace, &target, &built)?;
    println!("cargo::rerun-if-changed=build.rs");
    for name in PROGRAMS {
        let program = built.join(&target).join("pod").join(name);
        watch(&workspace, &program)?;
        hold(name, &fs::read(&program)?, &out)?;
    }
    Ok(())
}

/// Writes `NAME.gz`, and sets `NAME_DIGEST` for the crate.
fn hold(name: &str, bytes: &[u8], out: &Path) -> Result<(), Box<dyn Error>> {
    let digest: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let variable = name.to_uppercase().replace('-', "_");
    println!("cargo::rustc-env={variable}_DIGEST={digest}");
    let packed = fs::File::create(out.join(name).with_extension("gz"))?;
    // No name and no time in it: the same program gives the same bytes.
    let mut packed = GzBuilder::new().write(packed, Compression::best());
    packed.write_all(bytes)?;
    packed.finish()?;
    Ok(())
}

/// One for all profiles and tools of the outer build, which have an `OUT_DIR` each: the program is always the same, and
/// is built once. `OUT_DIR` is `target/TRIPLE/PROFILE/build/vial-means-HASH/out`; where it is not, it is taken itself.
fn target_directory(out: &Path) -> PathBuf {
    let usual = out.ancestors().nth(2).and_then(Path::file_name) == Some(OsStr::new("build"));
    let shared = out.ancestors().nth(4).filter(|_| usual);
    shared.unwrap_or(out).join("means")
}

fn build(workspace: &Path, target: &str, built: &Path) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("no CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--locked", "--profile", "pod"])
        .args(["--target", target, "--target-dir"])
        .arg(built);
    for name in PROGRAMS {
        cargo.args(["--package", name, "--bin", name]);
    }
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let own = text.starts_with("CARGO") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if own || DROPPED.contains(&&*text) {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cannot build the small programs ({cargo:?}):\n{said}").into());
    }
    Ok(())
}

/// Has this run again when what a program is made of changes: every source file of the workspace, as the inner cargo
/// wrote them down, the manifests beside them, and what holds for all.
fn watch(workspace: &Path, program: &Path) -> Result<(), Box<dyn Error>> {
    let written = fs::read_to_string(program.with_extension("d"))?;
    let (_, sources) = written.split_once(':').ok_or("no sources written down")?;
    // Blanks in paths are escaped.
    let sources = sources.trim().replace("\\ ", "\0");
    let mut watched: Vec<PathBuf> = sources
        .split_whitespace()
        .map(|path| PathBuf::from(path.replace('\0', " ")))
        .collect();
    let manifests: Vec<PathBuf> = watched
        .iter()
        .flat_map(|source| source.ancestors().skip(1))
        .map(|directory| directory.join("Cargo.toml"))
        .filter(|manifest| manifest.starts_with(workspace.join("crates")) && manifest.is_file())
        .collect();
    watched.extend(manifests);
    watched.extend(
        ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"].map(|name| workspace.join(name)),
    );
    watched.sort();
    watched.dedup();
    for path in watched {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    Ok(())
}
