//! A throw-away sandbox, what was before it, and whether it is all gone.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vial_rpc::init_client::InitClient;
use vial_rpc::{Channel, ContainerSpec, Mount, NetworkSpec, NodeLink, Route};
use vial_sandbox::{Maker, NamespaceMaker, Sandbox, SandboxSpec};

/// The host as it was; tests take turns, so that one does not see the other's work.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    pub spec: SandboxSpec,
    before: Host,
    _dir: tempfile::TempDir,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Lab {
    /// A place for one sandbox; nothing runs yet.
    pub async fn new() -> Self {
        let turn = TURN.lock().await;
        Self::prepared(turn)
    }

    fn prepared(turn: tokio::sync::MutexGuard<'static, ()>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec_in(dir.path());
        Self {
            before: Host::now(&spec.name),
            spec,
            _dir: dir,
            _turn: turn,
        }
    }

    /// A spec for a second sandbox beside the first.
    pub fn another(&self) -> SandboxSpec {
        let dir = self._dir.path().join("another");
        fs::create_dir(&dir).unwrap();
        spec_in(&dir)
    }

    pub async fn make(&self) -> Box<dyn Sandbox> {
        NamespaceMaker
            .make(&self.spec)
            .await
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    pub async fn find(&self) -> Option<Box<dyn Sandbox>> {
        NamespaceMaker.find(&self.spec).await.unwrap()
    }

    /// Addresses, routes and mounts of the host are what they were before.
    pub fn assert_host_unchanged(&self) {
        let now = Host::now(&self.spec.name);
        assert_eq!(self.before.network, now.network);
        assert_eq!(self.before.mounts, now.mounts);
    }

    /// No process, cgroup, mount or socket of the sandbox is left.
    pub fn assert_nothing_left(&self) {
        self.assert_host_unchanged();
        assert_eq!(Host::now(&self.spec.name), self.before);
        assert!(!self.spec.run_dir.join("init.pid").exists());
        assert!(!self.spec.run_dir.join("init.sock").exists());
    }

    /// Runs a script in a container through the stand-in agent.
    pub async fn run(&self, container: &str, script: &str) -> String {
        let socket = self
            .spec
            .run_dir
            .join("agents")
            .join(container)
            .join("agent.sock");
        let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        stream.write_all(script.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        output
    }
}

/// A test that failed leaves nothing either.
impl Drop for Lab {
    fn drop(&mut self) {
        let Ok(text) = fs::read_to_string(self.spec.run_dir.join("init.pid")) else {
            return;
        };
        let identity: vial_sys::identity::Identity = serde_json::from_str(&text).unwrap();
        if let Some(process) = identity.open().unwrap() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        vial_node::init::InitSpec::group(&self.spec.name)
            .unwrap()
            .remove()
            .unwrap();
    }
}

/// What must be the same before and after.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    network: String,
    mounts: String,
    /// Those that name the sandbox.
    cgroups: BTreeSet<PathBuf>,
    processes: BTreeSet<String>,
}

impl Host {
    fn now(name: &str) -> Self {
        let mut network = String::new();
        for arguments in [
            &["-br", "address"][..],
            &["route"],
            &["-6", "route"],
            &["rule"],
            &["netns"],
        ] {
            let output = Command::new("ip")
                .args(arguments)
                .output()
                .expect("ip is installed");
            network.push_str(&String::from_utf8_lossy(&output.stdout));
        }
        let mut cgroups = BTreeSet::new();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let group = hierarchy.unwrap().path().join("vial").join(name);
            if group.exists() {
                cgroups.insert(group);
            }
        }
        let mut processes = BTreeSet::new();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let groups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
            let state = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            // A zombie is gone; whoever is the host's PID 1 reaps it in its own time.
            if groups.contains(&format!("/vial/{name}")) && !state.contains(") Z ") {
                processes.insert(state);
            }
        }
        Self {
            network,
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap(),
            cgroups,
            processes,
        }
    }
}

fn spec_in(dir: &Path) -> SandboxSpec {
    let name = format!(
        "lab-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    );
    let (images, cluster, run) = (dir.join("images"), dir.join("cluster"), dir.join("run"));
    for path in [&images, &cluster, &run] {
        fs::create_dir_all(path).unwrap();
    }
    // A layer that shows the programs of the host, which come in by a mount.
    let base = images.join("base");
    for path in ["usr", "etc", "var"] {
        fs::create_dir_all(base.join(path)).unwrap();
    }
    for path in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{path}"), base.join(path)).unwrap();
    }
    fs::write(base.join("etc/layer"), "base").unwrap();
    SandboxSpec {
        name,
        images_dir: images,
        cluster_dir: cluster,
        run_dir: run,
        program: program(),
        mounts: vec![("/usr".into(), true)],
        machine: None,
    }
}

/// The example `roles`, which cargo builds beside the tests.
fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples/roles")
}

pub async fn init_of(sandbox: &dyn Sandbox) -> InitClient<Channel> {
    InitClient::new(sandbox.init().await.unwrap())
}

/// A network of the given nodes: 10.89.0.2, 10.89.0.3 and so on.
pub fn network(nodes: &[&str]) -> NetworkSpec {
    let link = |(number, node): (usize, &&str)| NodeLink {
        node: (*node).to_owned(),
        addresses: vec![
            format!("10.89.0.{}/24", number + 2),
            format!("fd89::{}/64", number + 2),
        ],
        routes: vec![
            Route {
                destination: "0.0.0.0/0".into(),
                gateway: "10.89.0.1".into(),
            },
            Route {
                destination: "::/0".into(),
                gateway: "fd89::1".into(),
            },
        ],
        mac: String::new(),
        machine_user: 0,
        taps: Vec::new(),
    };
    NetworkSpec {
        bridge: "mgmt".into(),
        addresses: vec!["10.89.0.1/24".into(), "fd89::1/64".into()],
        nodes: nodes.iter().enumerate().map(link).collect(),
        routes: vec![Route {
            destination: "10.244.1.0/24".into(),
            gateway: "10.89.0.2".into(),
        }],
        mtu: 0,
        refused: Vec::new(),
    }
}

/// A container of a node, with the stand-in as its agent.
pub fn container(name: &str, node: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.into(),
        node: node.into(),
        lower: vec!["/vial/images/base".into()],
        upper: format!("/vial/cluster/nodes/{name}"),
        mounts: vec![Mount {
            source: "/vial/mounts/0".into(),
            target: "/usr".into(),
            read_only: true,
            kind: 0,
        }],
        env: [("PATH".to_owned(), "/usr/sbin:/usr/bin".to_owned())].into(),
        agent_socket: format!("/vial/run/agents/{name}/agent.sock"),
        ..ContainerSpec::default()
    }
}

/// An error and its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
