//! `bench/load`: an image of 500 MB onto all nodes of a cluster, against one containerd that imports it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use vial_bench::machine::Machine;
use vial_bench::oci::{self, Layer};
use vial_bench::report::{median, progress, ratio, seconds, table};
use vial_bench::vial::Vial;
use vial_bench::{Result, disk};
use vial_engine::paths::Paths;
use vial_image::Digest;

/// The cluster of the race.
const CLUSTER: &str = "bench-load";
/// The image.
const NAME: &str = "bench.example/load:1";
/// Where nodes see the archive.
const ON_NODE: &str = "/var/lib/vial/volumes/load.tar";
/// A layer's files.
const FILES: usize = 100;
/// A file's bytes.
const FILE: usize = 1_000_000;

/// Race `vial image load` onto all nodes against `ctr images import` on one
#[derive(Debug, Parser)]
struct Args {
    /// How often; the middle figure counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Workers beside the control plane
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Layers of 100 MB that cannot be compressed
    #[arg(long, default_value_t = 5)]
    layers: usize,
}

/// What one run showed.
#[derive(Debug, Clone, Copy)]
struct Run {
    ours: Duration,
    theirs: Duration,
    disk: u64,
}

fn main() -> Result {
    let args = Args::parse();
    let machine = Machine::here();
    let scratch = tempfile::tempdir()?;
    let vial = Vial::beside(scratch.path())?;
    // One that a race left behind.
    let _ = vial.run(&["down", CLUSTER]);
    let ran = race(&args, &machine, &vial);
    vial.run(&["down", CLUSTER])?;
    ran
}

fn race(args: &Args, machine: &Machine, vial: &Vial) -> Result {
    vial.run(&["up", CLUSTER, "--workers", &args.workers.to_string()])?;
    let cluster = Paths::from_env().cluster_dir(CLUSTER);
    let archive = make(&cluster.join("nodes/cp-1/volumes"), args.layers)?;
    let path = archive.to_string_lossy().into_owned();
    let ctr = |line: &str| {
        let words = line.split_whitespace();
        let argv = ["exec", "-c", CLUSTER, "cp-1", "--", "ctr", "-n", "bench"].into_iter();
        vial.run(&argv.chain(words).collect::<Vec<_>>())
    };
    let mut runs = Vec::new();
    for run in 1..=args.runs {
        progress(&format!("run {run} of {}", args.runs));
        let (_, theirs) = ctr(&format!("images import {ON_NODE}"))?;
        ctr(&format!("images rm --sync {NAME}"))?;
        let before = disk::used(&cluster)?;
        let (_, ours) = vial.run(&["image", "load", "-c", CLUSTER, &path])?;
        let disk = disk::used(&cluster)?.saturating_sub(before);
        vial.run(&["image", "rm", "-c", CLUSTER, NAME])?;
        runs.push(Run { ours, theirs, disk });
    }
    print(args, machine, fs::metadata(&archive)?.len(), &runs);
    Ok(())
}

/// The archive, in a directory that the control-plane node sees.
fn make(dir: &Path, layers: usize) -> Result<PathBuf> {
    let mut random = Random(1);
    let layers: Result<Vec<_>> = (0..layers)
        .map(|number| {
            let path = dir.join(format!("layer-{number}.tar"));
            let mut tar = tar::Builder::new(File::create(&path)?);
            for file in 0..FILES {
                let mut header = tar::Header::new_gnu();
                header.set_size(FILE.try_into()?);
                header.set_mode(0o644);
                header.set_uid(0);
                header.set_gid(0);
                let content = random.bytes(FILE);
                tar.append_data(&mut header, format!("data/{number}/{file}"), &content[..])?;
            }
            tar.into_inner()?;
            let (digest, size) = Digest::of_reader(File::open(&path)?)?;
            Ok(Layer {
                path,
                digest: digest.to_string(),
                size,
                media_type: "application/vnd.oci.image.layer.v1.tar".into(),
                diff_id: digest.to_string(),
            })
        })
        .collect();
    let layers = layers?;
    let archive = dir.join("load.tar");
    oci::write(&archive, "/", &layers, &[NAME])?;
    for layer in layers {
        fs::remove_file(layer.path)?;
    }
    Ok(archive)
}

/// Bytes that cannot be compressed (xorshift64, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_le_bytes()
        });
        words.flatten().take(count).collect()
    }
}

#[expect(clippy::print_stdout, reason = "a race's result is its output")]
fn print(args: &Args, machine: &Machine, size: u64, runs: &[Run]) {
    let middle = |of: fn(&Run) -> Duration| median(&runs.iter().map(of).collect::<Vec<_>>());
    let (ours, theirs) = (middle(|run| run.ours), middle(|run| run.theirs));
    let disk = runs.iter().map(|run| run.disk).max().unwrap_or_default();
    println!("{machine}");
    println!(
        "an image of {:.0} MB onto {} nodes; middle of {} runs\n",
        size as f64 / 1e6,
        args.workers + 1,
        args.runs
    );
    table(&[
        ["", "time", "vial / containerd"]
            .map(str::to_owned)
            .to_vec(),
        vec![
            "vial image load, all nodes".into(),
            seconds(ours),
            ratio(theirs, ours),
        ],
        vec!["ctr images import, one node".into(), seconds(theirs)],
        vec![
            "on disk, all nodes together".into(),
            format!("{:.0} MB", disk as f64 / 1e6),
        ],
    ]);
}
