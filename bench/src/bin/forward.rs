//! `bench/forward`: a forwarded port against the same Service reached inside the sandbox, and against other ways to it.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Handle;
use vial_bench::forward::measure::{self, Amount, Figures, Held};
use vial_bench::forward::ways::{PortForward, Way, plain_relay};
use vial_bench::forward::{MANIFEST, NODE, PORT, server};
use vial_bench::machine::Machine;
use vial_bench::report::{progress, table};
use vial_bench::vial::Vial;
use vial_bench::{Result, report};
use vial_engine::execute;
use vial_engine::paths::Paths;
use vial_sandbox::{Maker as _, NamespaceMaker, Network, Sandbox};

/// The cluster of the race.
const CLUSTER: &str = "bench-forward";

/// Race a forwarded port against the same Service inside the sandbox, a plain relay and `kubectl port-forward`
#[derive(Debug, Parser)]
struct Args {
    /// How often; the middle figure counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// MiB in each direction
    #[arg(long, default_value_t = 1024)]
    mib: u64,
    /// Questions of one byte, one after the other
    #[arg(long, default_value_t = 5000)]
    questions: u32,
    /// Connections, one after the other
    #[arg(long, default_value_t = 500)]
    connections: u32,
    /// Connections at once
    #[arg(long, default_value_t = 1000)]
    at_once: usize,
}

/// A way, what it is called, and what was measured on it.
struct Racer {
    name: &'static str,
    way: Way,
    figures: Vec<Figures>,
}

#[tokio::main]
async fn main() -> Result {
    let args = Args::parse();
    let machine = Machine::here();
    let scratch = tempfile::tempdir()?;
    let vial = Vial::beside(scratch.path())?;
    // One that a race left behind.
    let _ = vial.run(&["down", CLUSTER]);
    let ran = race(&args, &machine, &vial, scratch.path()).await;
    vial.run(&["down", CLUSTER])?;
    ran
}

async fn race(args: &Args, machine: &Machine, vial: &Vial, scratch: &std::path::Path) -> Result {
    let port = format!("0:svc/default/race:{PORT}");
    vial.run(&["up", CLUSTER, "--workers", "0", "-p", &port])?;
    let manifest = scratch.join("race.yaml");
    std::fs::write(&manifest, MANIFEST)?;
    let kubectl = |args: &[&str]| vial.run(&[&["kubectl", "-c", CLUSTER], args].concat());
    kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    kubectl(&["wait", "--for=condition=Ready", "pod/race", "--timeout=60s"])?;
    let (address, _) = kubectl(&["get", "service", "race", "-o", "jsonpath={.spec.clusterIP}"])?;
    let service = (address.parse::<std::net::IpAddr>()?, PORT).into();

    let spec = execute::sandbox_spec(&Paths::from_env(), CLUSTER);
    let sandbox = NamespaceMaker.find(&spec).await?.ok_or("no sandbox")?;
    let sandbox: Arc<dyn Sandbox> = sandbox.into();
    tokio::spawn(server::serve(server::listen(sandbox.as_ref()).await?));
    while sandbox.dial(Network::Node(NODE), service).await.is_err() {
        // kube-proxy takes a moment; nobody tells when it is done.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (status, _) = vial.run(&["status", CLUSTER, "-o", "json"])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let (listed, _) = vial.run(&["port", "ls", "-c", CLUSTER, "-o", "json"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let forwarded = listed[0]["host"].as_str().ok_or("no port")?.parse()?;
    let keeper = u32::try_from(status["keeperPid"].as_u64().ok_or("no keeper")?)?;
    let port_forward = PortForward::start(vial, CLUSTER)?;
    let racer = |name, way| Racer {
        name,
        way,
        figures: Vec::new(),
    };
    let mut racers = [
        racer("inside", Way::Inside(Arc::clone(&sandbox), service)),
        racer("vial", Way::Port(forwarded)),
        racer("plain relay", plain_relay(sandbox, service).await?),
        racer("kubectl port-forward", Way::Port(port_forward.address)),
    ];
    let amount = Amount {
        bytes: args.mib << 20,
        questions: args.questions,
        connections: args.connections,
    };
    let runtime = Handle::current();
    let (runs, at_once, other) = (args.runs, args.at_once, port_forward.pid());
    let (racers, held) = tokio::task::spawn_blocking(move || -> Result<_> {
        for run in 1..=runs {
            for racer in &mut racers {
                progress(&format!("run {run} of {runs}: {}", racer.name));
                let figures = measure::run(&racer.way, &runtime, amount)?;
                racer.figures.push(figures);
            }
        }
        progress(&format!("{at_once} connections at once"));
        let ours = measure::at_once(&racers[1].way, &runtime, keeper, at_once)?;
        let theirs = measure::at_once(&racers[3].way, &runtime, other, at_once)?;
        Ok((racers, [ours, theirs]))
    })
    .await??;
    print(args, machine, &racers, &held);
    Ok(())
}

fn middle(racer: &Racer, of: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = racer.figures.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "a race's result is its output")]
fn print(args: &Args, machine: &Machine, racers: &[Racer], held: &[(Held, Held)]) {
    println!("{machine}");
    println!(
        "one connection at a time, {} MiB each way; middle of {} runs; in brackets: compared with inside\n",
        args.mib, args.runs
    );
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(racers.iter().map(|racer| racer.name.to_owned()));
    let mut row = |title: &str, of: &dyn Fn(&Figures) -> f64, show: &dyn Fn(f64, f64) -> String| {
        let inside = middle(&racers[0], of);
        let cells = racers.iter().map(|racer| show(middle(racer, of), inside));
        rows.push([title.to_owned()].into_iter().chain(cells).collect());
    };
    let bytes = |value: f64, inside: f64| {
        format!("{:.0} MB/s ({:.0} %)", value / 1e6, 100.0 * value / inside)
    };
    row("from the server", &|one| one.download, &bytes);
    row("to the server", &|one| one.upload, &bytes);
    row(
        "question and answer",
        &|one| one.latency.as_secs_f64() * 1e6,
        &|value, inside| format!("{value:.0} µs (+{:.0} µs)", value - inside),
    );
    row(
        "connections a second",
        &|one| one.connections,
        &|value, inside| format!("{value:.0} ({:.0} %)", 100.0 * value / inside),
    );
    report::table(&rows);
    println!("\n{} connections at once, in its process", args.at_once);
    let cell = |before: u64, now: u64| format!("{before} → {now}");
    let line = |title: &str, of: fn(&Held) -> u64| {
        let cells = held.iter().map(|(before, now)| cell(of(before), of(now)));
        [title.to_owned()].into_iter().chain(cells).collect()
    };
    table(&[
        vec![String::new(), "vial".into(), "kubectl port-forward".into()],
        line("threads", |held| held.threads),
        line("descriptors", |held| held.descriptors),
        line("memory, MB", |held| held.rss_kib / 1000),
    ]);
}
