//! `bench/up`: from nothing to "DNS answers in a pod", vial against the kubeadm way; and what a cluster costs.
//!
//! ```text
//! each run:  vial up → pod → memory → a second cluster's disk → vial down
//!            kubeadm: boot → (import) → init → join → pod → down
//! ```

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Parser;
use vial_bench::dns::{ENDED, LOG, POD, answered};
use vial_bench::kubeadm::{self, Race, race};
use vial_bench::machine::Machine;
use vial_bench::processes::{self, Memory};
use vial_bench::report::{median, progress, ratio, seconds, table};
use vial_bench::vial::Vial;
use vial_bench::{Result, disk, report};
use vial_engine::paths::Paths;

/// The clusters of the race.
const OURS: &str = "bench-up";
const SECOND: &str = "bench-second";
const THEIRS: &str = "bench-kubeadm";

/// Race a cold `vial up` against kubeadm on the same container nodes
#[derive(Debug, Parser)]
struct Args {
    /// How often; the middle figure counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Workers beside the control plane
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Only vial's side
    #[arg(long)]
    alone: bool,
    /// The directory of kubeadm's program, as `cargo xtask kubeadm` makes it
    #[arg(long, value_name = "DIR", required_unless_present = "alone")]
    kubeadm: Option<PathBuf>,
}

/// What one run of vial showed.
#[derive(Debug, Default, Clone, Copy)]
struct Ours {
    up: Duration,
    dns: Duration,
    down: Duration,
    disk: u64,
    worker: Memory,
}

#[tokio::main]
async fn main() -> Result {
    let args = Args::parse();
    let machine = Machine::here();
    let scratch = tempfile::tempdir()?;
    let vial = Vial::beside(scratch.path())?;
    vial.run(&["node-image", "inspect"])?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 1..=args.runs {
        progress(&format!("run {run} of {}: vial", args.runs));
        ours.push(race_vial(&vial, args.workers)?);
        if let Some(kubeadm) = args.kubeadm.as_deref().filter(|_| !args.alone) {
            progress(&format!("run {run} of {}: kubeadm", args.runs));
            let run = race(vial.program(), kubeadm, THEIRS, args.workers).await;
            kubeadm::down(THEIRS).await?;
            theirs.push(run?);
        }
    }
    print(&args, &machine, &ours, &theirs);
    Ok(())
}

fn race_vial(vial: &Vial, workers: u32) -> Result<Ours> {
    let workers = workers.to_string();
    // What a race left that was cut off; mostly there is nothing, which `down` calls a mistake.
    let _ = vial.run(&["down", OURS]);
    let begun = SystemTime::now();
    let (_, up) = vial.run(&["up", OURS, "--cold", "--workers", &workers])?;
    let kubectl = |args: &[&str]| {
        let args: Vec<&str> = ["kubectl", "-c", OURS, "--"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        vial.run(&args)
    };
    kubectl(POD)?;
    kubectl(ENDED)?;
    let (log, _) = kubectl(LOG)?;
    let dns = answered(&log)?.duration_since(begun)?;
    let sandbox = Paths::from_env().sandbox_name(OURS);
    let worker = processes::memory(&format!("{sandbox}/w-{workers}.node"), "/kubepods");
    vial.run(&["up", SECOND, "--cold", "--workers", &workers])?;
    let disk = disk::own(&Paths::from_env().cluster_dir(SECOND))?;
    vial.run(&["down", SECOND])?;
    let (_, down) = vial.run(&["down", OURS])?;
    Ok(Ours {
        up,
        dns,
        down,
        disk,
        worker,
    })
}

#[expect(clippy::print_stdout, reason = "a race's result is its output")]
fn print(args: &Args, machine: &Machine, ours: &[Ours], theirs: &[Race]) {
    let middle = |of: fn(&Ours) -> Duration| median(&ours.iter().map(of).collect::<Vec<_>>());
    let their = |of: fn(&Race) -> Duration| median(&theirs.iter().map(of).collect::<Vec<_>>());
    let dns = middle(|run| run.dns);
    let total = their(|run| run.total());
    println!("{machine}");
    println!(
        "cold up of one control plane and {} workers, image present; middle of {} runs\n",
        args.workers, args.runs
    );
    let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![
        row(["", "vial", "kubeadm", "kubeadm / vial"]),
        vec![
            "until DNS answers in a pod".into(),
            seconds(dns),
            seconds(total),
            ratio(dns, total),
        ],
        vec![
            "until the command returns".into(),
            seconds(middle(|run| run.up)),
            seconds(their(|run| run.boot + run.init + run.join)),
            ratio(
                middle(|run| run.up),
                their(|run| run.boot + run.init + run.join),
            ),
        ],
    ];
    for (title, of) in [
        (
            "  nodes with containerd",
            (|run| run.boot) as fn(&Race) -> Duration,
        ),
        ("  kubeadm init", |run| run.init),
        ("  kubeadm join", |run| run.join),
        ("  DNS in a pod", |run| run.dns),
    ] {
        rows.push(vec![title.into(), String::new(), seconds(their(of))]);
    }
    rows.push(vec!["down".into(), seconds(middle(|run| run.down))]);
    report::table(&rows);
    let Some(last) = ours.last() else {
        return;
    };
    println!();
    table(&[
        row(["", "", "goal", ""]),
        vec![
            "disk of a second cluster".into(),
            format!("{:.1} MB", last.disk as f64 / 1e6),
            "100 MB".into(),
        ],
        vec![
            format!(
                "an idle worker's {} processes, resident",
                last.worker.processes
            ),
            format!("{} MB", last.worker.rss_kib / 1000),
            "250 MB".into(),
        ],
        vec![
            "  shared pages counted once (PSS)".into(),
            format!("{} MB", last.worker.pss_kib / 1000),
        ],
    ]);
}
