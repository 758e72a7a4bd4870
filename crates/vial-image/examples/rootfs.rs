//! Builds vial's root file systems in a directory, to look at or to measure: `rootfs CACHE TARGET node|toolbox|node+vm`.
//!
//! sid's Release is accepted when it is expired (`VIAL_ALLOW_EXPIRED=1` for the others): mirrors of this machine may lag.
#![expect(
    clippy::print_stdout,
    reason = "an example talks to its person directly"
)]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use vial_image::debian::{self, Progress, Suite, lists, rootfs};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [cache, target, kind] = arguments.as_slice() else {
        return Err("usage: rootfs CACHE TARGET node|toolbox|node+vm".into());
    };
    let (cache, target) = (PathBuf::from(cache), PathBuf::from(target));
    let all = std::env::var_os("VIAL_ALLOW_EXPIRED").is_some();
    let mut suites = Suite::trixie()?;
    for suite in &mut suites {
        suite.allow_expired = all || suite.name == "sid";
    }
    let wanted: &[debian::PackageList<'_>] = match kind.as_str() {
        "node" => &[lists::NODE],
        "toolbox" => &[lists::TOOLBOX],
        _ => &[lists::NODE, lists::VM],
    };
    let quiet = |_: Progress| {};
    let start = Instant::now();
    let locks = debian::lock(&suites, "amd64", wanted, &cache, &quiet).await?;
    println!("locked in {:.1?}", start.elapsed());
    for (lock, list) in locks.iter().zip(wanted) {
        println!(
            "{}: {} packages, {} MB, digest {}",
            list.name,
            lock.packages.len(),
            lock.download_size() / 1_000_000,
            lock.digest()
        );
        let other: Vec<_> = lock
            .packages
            .iter()
            .filter(|package| package.suite == "sid")
            .map(|package| format!("{} {}", package.package, package.version))
            .collect();
        println!("  from sid: {}", other.join(", "));
    }
    let start = Instant::now();
    debian::fetch(&locks, &cache, &quiet).await?;
    println!("fetched in {:.1?}", start.elapsed());
    let start = Instant::now();
    rootfs::build(&locks[0], &cache, &target, &quiet)?;
    println!("built {} in {:.1?}", target.display(), start.elapsed());
    if let Some(vm) = locks.get(1) {
        let start = Instant::now();
        let layer = target.with_extension("vm");
        rootfs::build_layer(vm, &target, &cache, &layer, &quiet)?;
        println!("built {} in {:.1?}", layer.display(), start.elapsed());
    }
    Ok(())
}
