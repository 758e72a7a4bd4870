//! `bench/thaw`: how soon a frozen cluster goes on, against starting it and against the kubeadm way; what copies cost.
//!
//! ```text
//! each run:  up --cold ─► pod that asks for a name, again and again ─► freeze, while a client asks the API ─► thaw ─► its answer
//!            fork ─► the copy's API ─► pause, resume ─► … ─► copies: their memory and disk
//!            kubeadm: boot → init → join → DNS
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use clap::{Parser, ValueEnum};
use vial_bench::dns::time;
use vial_bench::kubeadm::{self, race};
use vial_bench::machine::Machine;
use vial_bench::report::{median, progress, ratio, seconds, table};
use vial_bench::vial::Vial;
use vial_bench::{Result, disk};
use vial_engine::kube_api;
use vial_engine::paths::Paths;

const PARENT: &str = "bench-parent";
const COPY: &str = "bench-copy";
const THEIRS: &str = "bench-kubeadm";
const TEMPLATE: &str = "bench-thaw";

/// What asks: it goes on, or starts again, and tells of every answer when it came.
const ASKING: &str = "while :; do dig +short +time=1 +tries=1 kubernetes.default.svc.cluster.local | grep -q . && date +%s.%N; sleep 0.02; done";

/// Race thaws against starts
#[derive(Debug, Parser)]
struct Args {
    /// How often; the middle figure counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// What holds the cluster
    #[arg(long, value_enum, default_value_t)]
    sandbox: Sandbox,
    /// Workers beside the control plane
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// How many copies there are when their memory and disk is looked at
    #[arg(long, default_value_t = 3)]
    copies: u32,
    /// The directory of kubeadm's program, as `cargo xtask kubeadm` makes it; without one it does not race
    #[arg(long, value_name = "DIR")]
    kubeadm: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Sandbox {
    /// On the host's kernel.
    #[default]
    Namespace,
    /// One virtual machine.
    Vm,
}

/// What one run showed.
#[derive(Debug, Default, Clone, Copy)]
struct Run {
    cold: Duration,
    pause: Duration,
    thaw: Duration,
    thaw_dns: Duration,
    fork_api: Duration,
    resume: Duration,
}

#[tokio::main]
async fn main() -> Result {
    let args = Args::parse();
    let machine = Machine::here();
    let scratch = tempfile::tempdir()?;
    let vial = Vial::beside(scratch.path())?;
    clean(&vial, args.copies);
    let raced = run(&vial, &args).await;
    clean(&vial, args.copies);
    let (runs, costs, theirs) = raced?;
    print(&args, &machine, &runs, costs, &theirs);
    Ok(())
}

/// What a race has left; mostly there is nothing, which vial calls a mistake.
fn clean(vial: &Vial, copies: u32) {
    for copy in 0..copies {
        let _ = vial.run(&["down", &format!("{COPY}-{copy}")]);
    }
    for cluster in [PARENT, COPY] {
        let _ = vial.run(&["down", cluster]);
    }
    let _ = vial.run(&["template", "rm", TEMPLATE, "--force"]);
}

/// Memory and disk of one copy, in bytes.
type Costs = (u64, u64);

async fn run(vial: &Vial, args: &Args) -> Result<(Vec<Run>, Costs, Vec<Duration>)> {
    let (mut runs, mut theirs, mut costs) = (Vec::new(), Vec::new(), (0, 0));
    for number in 1..=args.runs {
        progress(&format!("run {number} of {}: vial", args.runs));
        let (ran, cost) = race_vial(vial, args).await?;
        runs.push(ran);
        costs = cost;
        clean(vial, args.copies);
        if let Some(program) = &args.kubeadm {
            progress(&format!("run {number} of {}: kubeadm", args.runs));
            let ran = race(vial.program(), program, THEIRS, args.workers).await;
            kubeadm::down(THEIRS).await?;
            theirs.push(ran?.total());
        }
    }
    Ok((runs, costs, theirs))
}

async fn race_vial(vial: &Vial, args: &Args) -> Result<(Run, Costs)> {
    let workers = args.workers.to_string();
    let sandbox = match args.sandbox {
        Sandbox::Namespace => "namespace",
        Sandbox::Vm => "vm",
    };
    let up = [
        "up",
        PARENT,
        "--cold",
        "--workers",
        &workers,
        "--sandbox",
        sandbox,
    ];
    let (_, cold) = vial.run(&up)?;
    let ask = [
        "kubectl",
        "-c",
        PARENT,
        "--",
        "run",
        "asking",
        "--image=vial/toolbox:1",
    ];
    let how = ["--image-pull-policy=IfNotPresent", "--", "sh", "-c", ASKING];
    vial.run(&[&ask[..], &how].concat())?;
    let ready = [
        "kubectl",
        "-c",
        PARENT,
        "--",
        "wait",
        "--for=condition=Ready",
        "pod/asking",
        "--timeout=300s",
    ];
    vial.run(&ready)?;
    answer(vial, PARENT, SystemTime::now())?;
    let pause = pause(vial).await?;
    let begun = SystemTime::now();
    let (_, thaw) = vial.run(&["thaw", TEMPLATE, COPY])?;
    let thaw_dns = answer(vial, COPY, begun)?.duration_since(begun)?;
    vial.run(&["down", COPY])?;
    let fork_api = fork(vial)?;
    vial.run(&["pause", COPY])?;
    let (_, resume) = vial.run(&["resume", COPY])?;
    vial.run(&["down", COPY])?;
    let costs = costs(vial, args.copies)?;
    let run = Run {
        cold,
        pause,
        thaw,
        thaw_dns,
        fork_api,
        resume,
    };
    Ok((run, costs))
}

/// The first answer after a moment.
fn answer(vial: &Vial, cluster: &str, after: SystemTime) -> Result<SystemTime> {
    let limit = Instant::now() + Duration::from_secs(300);
    loop {
        // While the pod starts again it has no log.
        let log = vial.run(&[
            "kubectl", "-c", cluster, "--", "logs", "asking", "--tail", "1000",
        ]);
        let log = log.map(|(log, _)| log).unwrap_or_default();
        let times = log.lines().filter_map(|line| time(line).ok());
        if let Some(first) = times.filter(|time| *time > after).min() {
            return Ok(first);
        }
        if Instant::now() > limit {
            return Err(format!("no name is answered in {cluster}").into());
        }
    }
}

/// The longest that a client of the API waits for an answer while the cluster is frozen.
async fn pause(vial: &Vial) -> Result<Duration> {
    let (kubeconfig, _) = vial.run(&["kubeconfig", PARENT])?;
    let client = kube_api::client(&kubeconfig).await?;
    let frozen = Arc::new(AtomicBool::new(false));
    let asking = tokio::spawn({
        let frozen = Arc::clone(&frozen);
        async move {
            let mut longest = Duration::ZERO;
            while !frozen.load(Ordering::Relaxed) {
                let asked = Instant::now();
                kube_api::wait_serving(&client).await;
                longest = longest.max(asked.elapsed());
            }
            longest
        }
    });
    let vial = vial.clone();
    let freezing = tokio::task::spawn_blocking(move || {
        let ran = vial.run(&["freeze", PARENT, "--as", TEMPLATE]);
        ran.map(drop).map_err(|error| error.to_string())
    });
    let done = freezing.await?;
    frozen.store(true, Ordering::Relaxed);
    done?;
    Ok(asking.await?)
}

/// From `vial fork` until the copy's API answers.
fn fork(vial: &Vial) -> Result<Duration> {
    let begun = Instant::now();
    let mut forking = vial.command(&["fork", PARENT, COPY]).spawn()?;
    let ready = ["kubectl", "-c", COPY, "--", "get", "--raw", "/readyz"];
    while vial.run(&ready).is_err() {
        if begun.elapsed() > Duration::from_secs(300) {
            return Err("the copy's API does not answer".into());
        }
    }
    let took = begun.elapsed();
    forking.wait()?;
    Ok(took)
}

fn costs(vial: &Vial, copies: u32) -> Result<Costs> {
    let before = available()?;
    for copy in 0..copies {
        vial.run(&["thaw", TEMPLATE, &format!("{COPY}-{copy}")])?;
    }
    let memory = before.saturating_sub(available()?) / u64::from(copies.max(1));
    let disk = disk::own(&Paths::from_env().cluster_dir(&format!("{COPY}-0")))?;
    Ok((memory, disk))
}

/// What the host could still give, in bytes (proc_meminfo(5)).
fn available() -> Result<u64> {
    let text = std::fs::read_to_string(Path::new("/proc/meminfo"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kib.unwrap_or_default().parse::<u64>()? << 10)
}

#[expect(clippy::print_stdout, reason = "a race's result is its output")]
fn print(args: &Args, machine: &Machine, runs: &[Run], (memory, disk): Costs, theirs: &[Duration]) {
    println!("{machine}");
    println!(
        "{:?}, one control plane and {} workers; middle of {} runs\n",
        args.sandbox, args.workers, args.runs
    );
    let middle = |of: fn(&Run) -> Duration| median(&runs.iter().map(of).collect::<Vec<_>>());
    let (cold, thaw, dns) = (
        middle(|run| run.cold),
        middle(|run| run.thaw),
        middle(|run| run.thaw_dns),
    );
    let their = median(theirs);
    let goals = match args.sandbox {
        Sandbox::Namespace => ["2 s", "400 MB"],
        Sandbox::Vm => ["1 s", "150 MB"],
    };
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let row = |cells: [String; 4]| cells.to_vec();
    let text = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
    table(&[
        text(["", "measured", "goal", "cold, kubeadm / it"]),
        row([
            "up --cold, until the command returns".into(),
            seconds(cold),
            String::new(),
            String::new(),
        ]),
        row([
            "thaw, until the command returns".into(),
            seconds(thaw),
            String::new(),
            format!("{}, {}", ratio(thaw, cold), ratio(thaw, their)),
        ]),
        row([
            "thaw, until DNS answers in a pod".into(),
            seconds(dns),
            goals[0].into(),
            format!("{}, {}", ratio(dns, cold), ratio(dns, their)),
        ]),
        row([
            "freeze: pause seen by a client of the API".into(),
            seconds(middle(|run| run.pause)),
            "0.5 s".into(),
            String::new(),
        ]),
        row([
            "fork, until the copy's API answers".into(),
            seconds(middle(|run| run.fork_api)),
            "1 s".into(),
            String::new(),
        ]),
        row([
            "resume after pause, the whole command".into(),
            seconds(middle(|run| run.resume)),
            "0.1 s".into(),
            String::new(),
        ]),
        row([
            format!("memory of each of {} copies before use", args.copies),
            megabytes(memory),
            goals[1].into(),
            String::new(),
        ]),
        row([
            "disk of a copy".into(),
            megabytes(disk),
            "20 MB".into(),
            String::new(),
        ]),
    ]);
}
