//! `bench/pod`: how soon a pod can be logged in to, how fast its ssh server is beside OpenSSH's own, and how small.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use vial_bench::Result;
use vial_bench::machine::Machine;
use vial_bench::report::{median, progress, ratio, seconds, table};
use vial_bench::vial::{Vial, said};

/// The cluster of the race.
const CLUSTER: &str = "bench-pod";
/// Every node has it.
const SMALL: &str = "docker.io/vial/toolbox:1";
/// Has OpenSSH's server.
const LARGE: &str = "bench.example/openssh:1";
/// Where OpenSSH's server listens in the pod.
const PORT: &str = "2200";

/// Measure pods to log in to
#[derive(Debug, Parser)]
struct Args {
    /// How often; the middle figure counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How many pods at once
    #[arg(long, default_value_t = 10)]
    pods: usize,
    /// MiB that go through ssh
    #[arg(long, default_value_t = 512)]
    mebibytes: usize,
    /// Leave out the comparison with OpenSSH's server, which needs packages of Debian
    #[arg(long)]
    no_openssh: bool,
}

/// A race at work.
struct Race {
    vial: Vial,
    /// The home of the person who logs in.
    home: PathBuf,
    args: Args,
}

fn main() -> Result {
    let args = Args::parse();
    let machine = Machine::here();
    let scratch = tempfile::tempdir()?;
    let race = Race {
        vial: Vial::beside(scratch.path())?,
        home: scratch.path().to_path_buf(),
        args,
    };
    // One that a race left behind.
    let _ = race.vial.run(&["down", CLUSTER]);
    let ran = race.run(&machine);
    race.vial.run(&["down", CLUSTER])?;
    ran
}

impl Race {
    fn run(&self, machine: &Machine) -> Result {
        self.vial.run(&["up", CLUSTER, "--workers", "2"])?;
        // The first one waits for the ssh server to come to the nodes.
        self.pod(&["create", "warm", "--image", SMALL])?;
        let (mut one, mut many) = (Vec::new(), Vec::new());
        for run in 1..=self.args.runs {
            progress(&format!("run {run} of {}", self.args.runs));
            one.push(self.first_login(run)?);
            many.push(self.many(run)?);
        }
        let idle = self.resident("warm")?;
        let mut rows = vec![
            row(
                "create, then the first byte of `ssh NAME true`",
                &seconds(median(&one)),
                "2 s",
            ),
            row(
                &format!("{} pods at once, until all are ready", self.args.pods),
                &seconds(median(&many)),
                "6 s",
            ),
            row(
                "vial-sshd idle, resident",
                &format!("{:.1} MB", idle as f64 / 1e6),
                "8 MB",
            ),
        ];
        if !self.args.no_openssh {
            rows.extend(self.streams()?);
        }
        print(machine, rows);
        Ok(())
    }

    /// As the person of the race.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.vial.command(args);
        command.env("HOME", &self.home);
        command
    }

    fn pod(&self, args: &[&str]) -> Result<String> {
        let all = [&["pod"], args, &["-c", CLUSTER]].concat();
        said(&self.command(&all).output()?, || all.join(" "))
    }

    fn ssh(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command
            .arg("-F")
            .arg(self.home.join(".ssh/vial/config"))
            .args(args);
        command.stdin(Stdio::null());
        command
    }

    fn first_login(&self, run: usize) -> Result<Duration> {
        let name = format!("one-{run}");
        let began = Instant::now();
        self.pod(&["create", &name, "--image", SMALL])?;
        let output = self.ssh(&[&name, "echo", "here"]).output()?;
        let took = began.elapsed();
        said(&output, || format!("ssh {name}"))?;
        self.pod(&["rm", &name])?;
        Ok(took)
    }

    fn many(&self, run: usize) -> Result<Duration> {
        let names = format!("many-{run}-[1-{}]", self.args.pods);
        let began = Instant::now();
        self.pod(&["create", &names, "--image", SMALL])?;
        let took = began.elapsed();
        for number in 1..=self.args.pods {
            let name = format!("many-{run}-{number}");
            said(&self.ssh(&[&name, "true"]).output()?, || {
                format!("ssh {name}")
            })?;
        }
        self.pod(&["rm", &names])?;
        Ok(took)
    }

    /// Bytes of the server's process, as `VmRSS` of proc_pid_status(5) has it.
    fn resident(&self, pod: &str) -> Result<u64> {
        let script = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in */vial-sshd) grep VmRSS $p/status;; esac; done";
        let text = self.pod(&["exec", pod, "--", "sh", "-c", script])?;
        let kilobytes = text
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kilobytes
            .max()
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| format!("no server in {text:?}").into())
    }

    /// Both servers in one pod, through the same socket.
    fn streams(&self) -> Result<Vec<Vec<String>>> {
        progress("OpenSSH's server: make an image that has it");
        self.vial.run(&[
            "image",
            "debian",
            LARGE,
            "--packages",
            "openssh-server",
            "-c",
            CLUSTER,
        ])?;
        self.pod(&["create", "both", "--image", LARGE])?;
        let start = format!(
            "mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/bench && cp /vial/keys/authorized_keys /etc/ssh/bench_keys && chmod 600 /etc/ssh/bench_keys && /usr/sbin/sshd -p {PORT} -h /etc/ssh/bench -o AuthorizedKeysFile=/etc/ssh/bench_keys -o PermitRootLogin=yes -o StrictModes=no"
        );
        self.pod(&["exec", "both", "--", "sh", "-c", &start])?;
        let pod = self.pod(&["ls", "-o", "json"])?;
        let views: serde_json::Value = serde_json::from_str(&pod)?;
        let views = views.as_array().ok_or("no list")?;
        let both = views
            .iter()
            .find(|view| view["name"] == "both")
            .ok_or("no pod")?;
        let target = format!("pod/vial-pods/{}", both["pod"].as_str().ok_or("no name")?);
        let proxy = format!(
            "ProxyCommand={} netcat -c {CLUSTER} {target} {PORT}",
            self.vial.program().display()
        );
        let theirs_flags = [
            "-o",
            &proxy,
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "HostKeyAlias=theirs",
            "-o",
            "LogLevel=ERROR",
        ];
        let mut rows = Vec::new();
        for (what, up) in [("to the pod", true), ("from the pod", false)] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..self.args.runs {
                ours.push(self.stream(&[], up)?);
                theirs.push(self.stream(&theirs_flags, up)?);
            }
            let (ours, theirs) = (median(&ours), median(&theirs));
            let rate = |took: Duration| {
                format!(
                    "{:.0} MB/s",
                    self.args.mebibytes as f64 * 1.048_576 / took.as_secs_f64()
                )
            };
            rows.push(row(
                &format!("stream {what}: vial-sshd, and OpenSSH's sshd in the same pod"),
                &format!("{}, {}: {}", rate(ours), rate(theirs), ratio(ours, theirs)),
                "0.5×",
            ));
        }
        Ok(rows)
    }

    /// How long the bytes take.
    fn stream(&self, flags: &[&str], up: bool) -> Result<Duration> {
        let count = format!("count={}", self.args.mebibytes);
        let far = match up {
            true => "cat >/dev/null".to_owned(),
            false => format!("dd if=/dev/zero bs=1M {count} status=none"),
        };
        let mut ssh = self.ssh(&[flags, &["both", &far]].concat());
        let began = Instant::now();
        if up {
            let mut zeros = Command::new("dd")
                .args(["if=/dev/zero", "bs=1M", &count, "status=none"])
                .stdout(Stdio::piped())
                .spawn()?;
            let pipe = zeros.stdout.take().ok_or("no pipe")?;
            said(&ssh.stdin(pipe).output()?, || "ssh".into())?;
            zeros.wait()?;
        } else {
            let status = ssh.stdout(Stdio::null()).status()?;
            if !status.success() {
                return Err(format!("ssh: {status}").into());
            }
        }
        Ok(began.elapsed())
    }
}

fn row(what: &str, measured: &str, goal: &str) -> Vec<String> {
    vec![what.into(), measured.into(), goal.into()]
}

#[expect(clippy::print_stdout, reason = "a race's result is its output")]
fn print(machine: &Machine, rows: Vec<Vec<String>>) {
    println!("{machine}\n");
    let head = row("", "measured", "goal");
    table(&[&[head][..], &rows].concat());
}
