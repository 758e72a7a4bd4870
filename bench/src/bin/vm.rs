//! `bench/vm`: how soon nodes that are virtual machines come up, alone and three at once, and how small they are.

use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use vial_bench::machine::Machine;
use vial_bench::report::{median, progress, seconds, table};
use vial_bench::vial::Vial;
use vial_bench::{Result, disk, processes};
use vial_engine::paths::Paths;

/// The cluster of the race.
const CLUSTER: &str = "bench-vm";
/// Of each machine.
const MEMORY: &str = "1Gi";

/// Measure nodes that are virtual machines
#[derive(Debug, Parser)]
struct Args {
    /// How often; the middle figure counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long a node is left alone before its memory is looked at, in seconds
    #[arg(long, default_value_t = 60)]
    idle: u64,
}

/// When the machines of an `up` had come so far, counted from the start of the first.
#[derive(Debug, Clone, Copy)]
struct Came {
    agent: Duration,
    ready: Duration,
}

/// What one idle machine takes of the host.
#[derive(Debug, Clone, Copy)]
struct Size {
    memory: processes::Memory,
    disk: u64,
}

fn main() -> Result {
    let args = Args::parse();
    let machine = Machine::here();
    let scratch = tempfile::tempdir()?;
    let vial = Vial::beside(scratch.path())?;
    let trace = scratch.path().join("trace.json");
    // One that a race left behind.
    let _ = vial.run(&["down", CLUSTER]);
    let ran = race(&vial, &trace, &args);
    // What a race that failed left.
    let _ = vial.run(&["down", CLUSTER]);
    print(&machine, ran?);
    Ok(())
}

fn race(vial: &Vial, trace: &Path, args: &Args) -> Result<Vec<Vec<String>>> {
    // The first one makes what all start from.
    up(vial, trace, 1)?;
    vial.run(&["down", CLUSTER])?;
    let (mut alone, mut three) = (Vec::new(), Vec::new());
    let mut size = None;
    for run in 1..=args.runs {
        progress(&format!("run {run} of {}", args.runs));
        alone.push(up(vial, trace, 1)?);
        if size.is_none() {
            size = Some(look(args.idle)?);
        }
        vial.run(&["down", CLUSTER])?;
        three.push(up(vial, trace, 3)?);
        vial.run(&["down", CLUSTER])?;
    }
    let middle = |came: &[Came], of: fn(&Came) -> Duration| {
        seconds(median(&came.iter().map(of).collect::<Vec<_>>()))
    };
    let size = size.ok_or("no run")?;
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    Ok(vec![
        row(
            "power on, until the agent answers",
            middle(&alone, |came| came.agent),
            "3 s",
        ),
        row(
            "power on, until the node is Ready",
            middle(&alone, |came| came.ready),
            "15 s",
        ),
        row(
            "three at once, until all are Ready",
            middle(&three, |came| came.ready),
            "35 s",
        ),
        row(
            &format!("an idle machine of {MEMORY}, its share of the host's memory (PSS)"),
            megabytes(size.memory.pss_kib << 10),
            "350 MB",
        ),
        row("disk of a fresh machine", megabytes(size.disk), "30 MB"),
    ])
}

/// Makes the cluster; gives when its machines had come how far.
fn up(vial: &Vial, trace: &Path, machines: usize) -> Result<Came> {
    let (count, file) = (machines.to_string(), trace.to_string_lossy());
    vial.run(&[
        "up",
        CLUSTER,
        "--vm-workers",
        &count,
        "--vm-memory",
        MEMORY,
        "--trace",
        &file,
    ])?;
    let text: Value = serde_json::from_slice(&fs::read(trace)?)?;
    let events = text["traceEvents"].as_array().ok_or("no trace")?;
    let of = |node: usize, step: &str| -> Result<(u64, u64)> {
        let id = format!("w-{node}/{step}");
        let mut events = events.iter();
        let event = events.find(|event| event["args"]["id"] == id.as_str());
        let event = event.ok_or_else(|| format!("the trace has no {id}"))?;
        let begin = event["ts"].as_u64().ok_or("no time")?;
        Ok((begin, begin + event["dur"].as_u64().ok_or("no duration")?))
    };
    let (mut first, mut agent, mut ready) = (u64::MAX, 0, 0);
    for node in 1..=machines {
        let (on, answers) = of(node, "machine")?;
        first = first.min(on);
        agent = agent.max(answers);
        ready = ready.max(of(node, "ready")?.1);
    }
    Ok(Came {
        agent: Duration::from_micros(agent - first),
        ready: Duration::from_micros(ready - first),
    })
}

/// Looks at the one machine that runs, once it is idle.
fn look(idle: u64) -> Result<Size> {
    std::thread::sleep(Duration::from_secs(idle));
    let paths = Paths::from_env();
    let sandbox = paths.sandbox_name(CLUSTER);
    Ok(Size {
        memory: processes::memory(&format!("{sandbox}/w-1.machine"), "/kubepods"),
        disk: disk::own(&paths.cluster_dir(CLUSTER).join("nodes/w-1"))?,
    })
}

fn row(what: &str, measured: String, goal: &str) -> Vec<String> {
    vec![what.into(), measured, goal.into()]
}

#[expect(clippy::print_stdout, reason = "a race's result is its output")]
fn print(machine: &Machine, rows: Vec<Vec<String>>) {
    println!("{machine}\n");
    let head = row("", "measured".into(), "goal");
    table(&[&[head][..], &rows].concat());
}
