//! The fixture: a cluster of its own for each test, gone at its end, and the questions tests ask of it.
//!
//! Clusters live below `$VIAL_TEST_HOME`, which holds a built node image (`cargo xtask test` sees to it). Labs take
//! turns: two cores do not carry several clusters at once, and what the host looks like must be one lab's doing.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;

static TURN: Mutex<()> = Mutex::new(());

/// Clusters of one test.
pub(crate) struct Lab {
    _turn: MutexGuard<'static, ()>,
    dir: tempfile::TempDir,
    home: PathBuf,
    run: PathBuf,
    names: Vec<String>,
    before: Host,
    /// Words before every command, which let it run on another host.
    host: Vec<String>,
    /// The authority that vial trusts instead of the machine's.
    trusts: Option<PathBuf>,
    /// New clusters go on from templates, as they do for people; else each test sees its own start.
    templates: bool,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output
            .status
            .code()
            .or_else(|| output.status.signal().map(|signal| 128 + signal));
        Self {
            code: code.unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its stdout, without the last newline.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(
            self.code, 0,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self.stdout.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).expect("JSON")
    }
}

impl Lab {
    /// Waits for its turn; the clusters it may make are named.
    pub(crate) fn new(names: &[&str]) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let home = std::env::var_os("VIAL_TEST_HOME")
            .map(PathBuf::from)
            .unwrap_or_else(|| {
                let home = std::env::var_os("HOME").expect("a home directory");
                PathBuf::from(home).join(".cache/vial-test")
            });
        assert!(
            home.join("images/index.json").is_file(),
            "no node image in {}: run the tests by `cargo xtask test`",
            home.display()
        );
        let lab = Self {
            _turn: turn,
            dir: tempfile::tempdir().expect("a directory"),
            run: PathBuf::from(format!("/run/vial-test-{}", std::process::id())),
            home,
            names: names.iter().map(ToString::to_string).collect(),
            before: Host::look(),
            host: Vec::new(),
            trusts: None,
            templates: false,
        };
        for name in &lab.names {
            lab.vial(["down", name]);
        }
        lab
    }

    /// A lab with one cluster that is up.
    pub(crate) fn up(name: &str, flags: &[&str]) -> Self {
        let lab = Self::new(&[name]);
        lab.vial([&["up", name], flags].concat()).ok();
        lab
    }

    /// From now on vial runs on the host of this world, which outlives the lab.
    pub(crate) fn on(mut self, world: &World) -> Self {
        self.host = world.host();
        self
    }

    /// From now on new clusters go on from templates, where there are some.
    pub(crate) fn with_templates(mut self) -> Self {
        self.templates = true;
        self
    }

    /// From now on vial trusts this authority (PEM), as the machine would.
    pub(crate) fn trusting(mut self, authority: PathBuf) -> Self {
        self.trusts = Some(authority);
        self
    }

    /// The vial binary with this lab's directories.
    pub(crate) fn command(
        &self,
        args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
    ) -> Command {
        let program = env!("CARGO_BIN_EXE_vial").to_owned();
        let words: Vec<_> = self.host.iter().cloned().chain([program]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(args);
        self.prepare(&mut command);
        command
    }

    /// Lets a command, and the vial it may call, see this lab's directories.
    fn prepare(&self, command: &mut Command) {
        command
            .env("VIAL_HOME", &self.home)
            .env("VIAL_RUN", &self.run)
            .env("KUBECONFIG", self.kubeconfig())
            .env_remove("VIAL_CLUSTER")
            .stdin(Stdio::null());
        if !self.templates {
            command.env("VIAL_COLD", "true");
        }
        if let Some(authority) = &self.trusts {
            command.env("SSL_CERT_FILE", authority);
        }
    }

    /// A script as a person would write it, with `$1`, …; `vial` is on its PATH, what tests have built, and ssh, scp, rsync.
    pub(crate) fn shell(&self, script: &str, args: &[&str]) -> Ran {
        let vial = Path::new(env!("CARGO_BIN_EXE_vial"));
        let mut path = vial.parent().unwrap_or(vial).as_os_str().to_owned();
        path.push(concat!(":", env!("CARGO_TARGET_TMPDIR"), ":"));
        path.push(std::env::var_os("PATH").unwrap_or_default());
        path.push(":");
        path.push(self.tools());
        let mut command = Command::new("sh");
        command.args(["-ec", script, "sh"]).args(args);
        self.prepare(&mut command);
        Ran::of(command.env("PATH", path).output().expect("sh runs"))
    }

    /// A file of the node image, in the unpacked layer that has it.
    #[track_caller]
    pub(crate) fn in_node_image(&self, file: &str) -> PathBuf {
        let layers = fs::read_dir(self.home.join("images/unpacked")).expect("layers");
        let mut files = layers.flatten().map(|layer| layer.path().join(file));
        files.find(|path| path.is_file()).expect("a layer with it")
    }

    /// Programs for a host that lacks them: those of the node image, by its own loader and libraries.
    fn tools(&self) -> PathBuf {
        let tools = self.dir.path().join(".tools");
        let rsync = self.in_node_image("usr/bin/rsync");
        let root = rsync.ancestors().nth(3).expect("a layer").display();
        let run = format!(
            "exec {root}/lib64/ld-linux-x86-64.so.2 --library-path {root}/usr/lib/x86_64-linux-gnu {root}/usr/bin"
        );
        fs::create_dir_all(&tools).expect("made");
        // scp looks for ssh in one place only.
        for (name, flags) in [
            ("ssh", ""),
            ("scp", "-S \"$(command -v ssh)\""),
            ("rsync", ""),
        ] {
            let script = format!("#!/bin/sh\n{run}/{name} {flags} \"$@\"\n");
            let path = tools.join(name);
            fs::write(&path, script).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
        }
        tools
    }

    pub(crate) fn vial(&self, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Ran {
        Ran::of(self.command(args).output().expect("vial runs"))
    }

    /// With something on its standard input.
    pub(crate) fn vial_with(&self, stdin: &[u8], args: &[&str]) -> Ran {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("vial runs");
        let mut input = child.stdin.take().expect("piped");
        let stdin = stdin.to_vec();
        let writer = std::thread::spawn(move || input.write_all(&stdin));
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        // A command that does not read all of its input is no failure of the test.
        let _ = writer.join();
        ran
    }

    pub(crate) fn kubectl(&self, cluster: &str, args: &[&str]) -> Ran {
        self.vial([&["kubectl", "-c", cluster], args].concat())
    }

    #[track_caller]
    pub(crate) fn apply(&self, cluster: &str, yaml: &str) {
        self.vial_with(
            yaml.as_bytes(),
            &["kubectl", "-c", cluster, "apply", "-f", "-"],
        )
        .ok();
    }

    /// Waits for a pod to be Ready; where it does not become so, what is known of it is shown.
    #[track_caller]
    pub(crate) fn await_pod(&self, cluster: &str, pod: &str) {
        let pod = format!("pod/{pod}");
        let wait = ["wait", "--for=condition=Ready", &pod, "--timeout=60s"];
        let ran = self.kubectl(cluster, &wait);
        let described = || self.kubectl(cluster, &["describe", &pod]).stdout;
        assert_eq!(ran.code, 0, "{ran:?}\n{}", described());
    }

    /// A command on a node.
    pub(crate) fn exec(&self, cluster: &str, node: &str, argv: &[&str]) -> Ran {
        self.vial([&["exec", "-c", cluster, node, "--"], argv].concat())
    }

    pub(crate) fn status(&self, cluster: &str) -> Value {
        self.vial(["status", cluster, "-o", "json"]).json()
    }

    /// One component of a node, from the status.
    #[track_caller]
    pub(crate) fn component(&self, cluster: &str, node: &str, component: &str) -> Value {
        let status = self.status(cluster);
        let nodes = status["nodes"].as_array().expect("nodes");
        let node = nodes
            .iter()
            .find(|one| one["name"] == node)
            .expect("the node");
        let components = node["components"].as_array().expect("components");
        components
            .iter()
            .find(|one| one["name"] == component)
            .expect("the component")
            .clone()
    }

    /// Pid on the host of the first process of a node's container.
    #[track_caller]
    pub(crate) fn agent_pid(&self, cluster: &str, container: &str) -> u32 {
        let read = |pid: u32, file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .find(|pid| {
                let group = read(*pid, "cgroup");
                read(*pid, "cmdline").starts_with("vial-agent")
                    && group.contains(&format!("/vial/{cluster}-"))
                    && group.contains(container)
            })
            .expect("the container runs")
    }

    /// The directory of a cluster: record, keys, disks.
    pub(crate) fn cluster_dir(&self, cluster: &str) -> PathBuf {
        self.home.join("clusters").join(cluster)
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).expect("written");
        path.to_string_lossy().into_owned()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// $VIAL_HOME, which tests share.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn run_dir(&self) -> &Path {
        &self.run
    }

    /// The pid of a program of a cluster.
    #[track_caller]
    pub(crate) fn pid_of(&self, cluster: &str, program: &str) -> Value {
        let entries = fs::read_dir("/proc").expect("processes").flatten();
        let mut pids = entries.filter_map(|entry| {
            let read = |name: &str| fs::read_to_string(entry.path().join(name)).ok();
            let ours = read("cgroup")?.contains(&format!("/vial/{cluster}-"));
            let pid = entry.file_name().to_str()?.parse::<i64>().ok()?;
            (ours && read("comm")?.trim() == program).then_some(pid)
        });
        pids.next().expect("the program runs").into()
    }

    /// The loopback ports that a cluster has on the host, as [`Host::assert_same_but`] wants them.
    pub(crate) fn endpoints(&self, cluster: &str) -> Vec<String> {
        let status = self.status(cluster);
        let endpoints = status["endpoints"].as_array().expect("endpoints");
        let hosts = endpoints.iter().filter_map(|one| one["host"].as_str());
        let ports = hosts.filter_map(|host| host.rsplit(':').next()?.parse().ok());
        ports.map(loopback).collect()
    }

    /// What the host looked like before this lab.
    pub(crate) fn before(&self) -> &Host {
        &self.before
    }

    /// Nothing of any cluster of this lab is left, and the host is as it was.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        self.before.assert_same(&Host::look());
        for name in &self.names {
            assert!(
                !self.home.join("clusters").join(name).exists(),
                "the directory of cluster {name} is left"
            );
        }
        self.assert_nothing_runs();
    }

    /// No process, cgroup, socket or lock of this lab's clusters is left (their disks may be).
    #[track_caller]
    pub(crate) fn assert_nothing_runs(&self) {
        assert!(
            !self.run.exists(),
            "left in {}: {:?}",
            self.run.display(),
            fs::read_dir(&self.run)
                .map(|dir| dir.flatten().map(|entry| entry.path()).collect::<Vec<_>>())
        );
        for name in &self.names {
            let cgroups = cgroups_of(name);
            assert!(cgroups.is_empty(), "cgroups are left: {cgroups:?}");
            let left = processes_with(&self.home.join("bin").to_string_lossy(), name);
            assert!(left.is_empty(), "processes are left: {left:?}");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let ran = self.vial(["down", name]);
            if std::thread::panicking() {
                eprintln!("clean-up: down {name}: {}{}", ran.stdout, ran.stderr);
            }
        }
    }
}

/// Sends a signal to a process, which lives.
#[track_caller]
pub(crate) fn signal(pid: impl TryInto<i32>, signal: rustix::process::Signal) {
    let pid = pid.try_into().ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a pid"), signal).expect("it lives");
}

/// Asks again until it is so; there is nothing to wait on for what a test sees from outside.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match ask() {
            Ok(value) => return value,
            Err(seen) if begun.elapsed() > Duration::from_secs(90) => panic!("{what}: {seen}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Ends a process of a cluster, as `vial status -o json` names it, by SIGKILL. It has closed all it had when this returns.
#[track_caller]
pub(crate) fn kill(pid: &serde_json::Value) {
    let pid = pid.as_i64().expect("a pid");
    signal(pid, rustix::process::Signal::KILL);
    eventually("it ends", || {
        // Whoever takes it in may leave it a zombie for a while (proc_pid_stat(5)).
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim().chars().next());
        // Its first thread is a zombie already while another one still holds what they shared.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        match state {
            None | Some('Z' | 'X') if threads <= 1 => Ok(()),
            None => Err(format!("{pid} has {threads} threads")),
            Some(state) => Err(format!("{pid} is in state {state}")),
        }
    });
}

/// The cgroup directories of a cluster, in every hierarchy.
pub(crate) fn cgroups_of(cluster: &str) -> Vec<PathBuf> {
    let roots = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let roots = roots.chain([PathBuf::from("/sys/fs/cgroup")]);
    let below = roots.flat_map(|root| {
        fs::read_dir(root.join("vial"))
            .into_iter()
            .flatten()
            .flatten()
    });
    let own = |path: &PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        name == cluster
            || name
                .strip_prefix(cluster)
                .is_some_and(|mark| mark.starts_with('-'))
    };
    below.map(|entry| entry.path()).filter(own).collect()
}

fn processes_with(program: &str, argument: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            fs::read_link(entry.path().join("exe"))
                .is_ok_and(|exe| exe.to_string_lossy().starts_with(program))
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|line| line.split('\0').any(|word| word == argument))
        .collect()
}

/// Everything of the host that a sealed cluster must not touch.
#[derive(Debug, PartialEq)]
pub(crate) struct Host {
    addresses: String,
    routes: String,
    rules: String,
    nft: String,
    iptables: String,
    etc: String,
    mounts: String,
    sysctls: String,
    listeners: BTreeSet<String>,
}

impl Host {
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        // Tools that a bare machine may lack answer with their absence, which is the same before and after.
        let run = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output();
            output.map_or_else(
                |error| error.to_string(),
                |output| String::from_utf8_lossy(&output.stdout).into_owned(),
            )
        };
        Self {
            addresses: run("ip", &["-o", "address"])
                .lines()
                .map(without_lifetime)
                .collect::<Vec<_>>()
                .join("\n")
                + &read("/proc/net/if_inet6"),
            routes: run("ip", &["route", "show", "table", "all"])
                + &run("ip", &["-6", "route", "show", "table", "all"])
                + &read("/proc/net/route"),
            rules: run("ip", &["rule"]) + &run("ip", &["-6", "rule"]),
            nft: run("nft", &["list", "ruleset"]),
            iptables: run("iptables-save", &[]) + &read("/proc/net/ip_tables_names"),
            etc: listing(Path::new("/etc")),
            mounts: read("/proc/self/mountinfo"),
            sysctls: [
                "vm/overcommit_memory",
                "vm/panic_on_oom",
                "kernel/panic",
                "kernel/panic_on_oops",
                "kernel/keys/root_maxkeys",
                "net/ipv4/ip_forward",
                "kernel/hostname",
            ]
            .map(|name| format!("{name}={}", read(&format!("/proc/sys/{name}"))))
            .concat(),
            listeners: listeners(),
        }
    }

    /// Everything but the listeners is byte-identical; those are too, except loopback ones of vial's own.
    #[track_caller]
    pub(crate) fn assert_same_but(&self, other: &Self, own: &[String]) {
        let added: Vec<_> = other
            .listeners
            .difference(&self.listeners)
            .filter(|one| !own.contains(one))
            .collect();
        assert!(added.is_empty(), "new listeners on the host: {added:?}");
        let gone: Vec<_> = self.listeners.difference(&other.listeners).collect();
        assert!(gone.is_empty(), "listeners of the host are gone: {gone:?}");
        assert_eq!(self.addresses, other.addresses);
        assert_eq!(self.routes, other.routes);
        assert_eq!(self.rules, other.rules);
        assert_eq!(self.nft, other.nft);
        assert_eq!(self.iptables, other.iptables);
        assert_eq!(self.etc, other.etc);
        assert_eq!(self.mounts, other.mounts);
        assert_eq!(self.sysctls, other.sysctls);
    }

    #[track_caller]
    pub(crate) fn assert_same(&self, other: &Self) {
        self.assert_same_but(other, &[]);
    }
}

/// Lifetimes of addresses count down by themselves.
fn without_lifetime(line: &str) -> String {
    line.split("valid_lft")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Every file below a directory with size, mode and time of change.
fn listing(dir: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let mut entries: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    let mut text = String::new();
    for path in entries {
        if let Ok(facts) = fs::symlink_metadata(&path) {
            text += &format!(
                "{} {} {:o} {}.{}\n",
                path.display(),
                facts.size(),
                facts.mode(),
                facts.mtime(),
                facts.mtime_nsec()
            );
            if facts.is_dir() {
                text += &listing(&path);
            }
        }
    }
    text
}

/// Addresses that something listens on, as /proc/net writes them: TCP in state 0A, UDP unconnected (07).
fn listeners() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields.get(3) == Some(&state) {
                found.insert(format!("{table} {}", fields[1]));
            }
        }
    }
    found
}

/// A loopback port as [`listeners`] writes it.
pub(crate) fn loopback(port: u16) -> String {
    listener(([127, 0, 0, 1], port).into())
}

/// A TCP address as [`listeners`] writes it: words of 32 bits in the machine's order (proc_pid_net(5)).
pub(crate) fn listener(address: SocketAddr) -> String {
    let (table, bytes) = match address.ip() {
        IpAddr::V4(ip) => ("tcp", ip.octets().to_vec()),
        IpAddr::V6(ip) => ("tcp6", ip.octets().to_vec()),
    };
    let words = bytes
        .chunks_exact(4)
        .filter_map(|word| word.try_into().ok());
    let words: String = words
        .map(|word| format!("{:08X}", u32::from_ne_bytes(word)))
        .collect();
    format!("{table} {words}:{:04X}", address.port())
}
