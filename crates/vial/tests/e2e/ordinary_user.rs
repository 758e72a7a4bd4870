//! Somebody who has no right at all: a whole cluster in one virtual machine, and nothing left of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::lab::{Lab, Ran, eventually, kill};
use crate::world::{HOST_V4, PORT, V4, World};

/// nobody's user and group.
const NOBODY: &str = "65534";

/// The person: a home, a vial and a host of their own.
struct Nobody {
    dir: tempfile::TempDir,
    host: Vec<String>,
}

impl Nobody {
    /// With the node image that the lab has.
    fn with_image(lab: &Lab, world: &World) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("vial-nobody-")
            .tempdir_in("/tmp")
            .expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("set");
        for own in ["home", "vial", "run"] {
            let own = dir.path().join(own);
            fs::create_dir(&own).expect("made");
            std::os::unix::fs::chown(&own, Some(65_534), Some(65_534)).expect("given");
        }
        let nobody = Self {
            host: world.host(),
            dir,
        };
        fs::copy(env!("CARGO_BIN_EXE_vial"), nobody.path("bin")).expect("copied");
        let mut save = lab.command(["node-image", "save", "--quiet", "--output", "-"]);
        let mut saving = save.stdout(Stdio::piped()).spawn().expect("it runs");
        let archive = saving.stdout.take().expect("piped");
        let mut load = nobody.command(&["node-image", "load", "-"]);
        Ran::of(load.stdin(archive).output().expect("it runs")).ok();
        assert!(saving.wait().expect("it ends").success());
        nobody
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut words = self.host.iter();
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .args(["setpriv", "--reuid", NOBODY, "--regid", NOBODY])
            .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
            .arg(self.path("bin"))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .env("VIAL_HOME", self.path("vial"))
            .env("VIAL_RUN", self.path("run/vial"))
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    fn vial(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().expect("it runs"))
    }

    fn on_node(&self, script: &str) -> Ran {
        self.vial(&["exec", "-c", "box", "cp-1", "--", "sh", "-c", script])
    }

    /// Processes of this person that name this directory: other tests have none of them.
    fn processes(&self) -> Vec<(u32, String)> {
        let mark = self.dir.path().to_string_lossy().into_owned();
        let entries = fs::read_dir("/proc").expect("processes").flatten();
        let processes = entries.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let ours =
                line.contains(&mark) || String::from_utf8_lossy(&environment).contains(&mark);
            ours.then_some((pid, line))
        });
        processes.collect()
    }

    #[track_caller]
    fn process(&self, word: &str) -> u32 {
        let all = self.processes();
        let found = all.iter().find(|(_, line)| line.contains(word));
        found.unwrap_or_else(|| panic!("no {word} in {all:?}")).0
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        // When a test has failed half-way.
        let _ = self.vial(&["down", "box"]);
    }
}

const SPY: &str = "
apiVersion: v1
kind: Pod
metadata: {name: spy}
spec:
  hostPID: true
  hostNetwork: true
  containers:
    - name: spy
      image: docker.io/vial/toolbox:1
      command: [sleep, infinity]
      securityContext: {privileged: true}
      volumeMounts: [{name: host, mountPath: /host}]
  volumes: [{name: host, hostPath: {path: /}}]
";

#[test]
fn a_whole_cluster_is_one_machine_of_an_ordinary_user() {
    let mut world = World::apart();
    world.connect();
    let lab = Lab::new(&[]);
    let nobody = Nobody::with_image(&lab, &world);
    let before = world.look();
    nobody
        .vial(&[
            "up",
            "box",
            "--workers",
            "0",
            "--cpus",
            "2",
            "--memory",
            "3Gi",
        ])
        .ok();
    assert_eq!(world.look(), before, "the host's network is as it was");
    nobody.vial(&["check", "box"]).ok();

    // Everything runs as this user, without a capability.
    for (pid, line) in nobody.processes() {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let users = field("Uid:").unwrap_or_default().split_whitespace();
        assert!(users.clone().all(|uid| uid == NOBODY), "{line}: {users:?}");
    }
    assert_eq!(nobody.on_node("exit 7").code, 7);
    assert_eq!(nobody.on_node("nproc; id -u").ok(), "2\n0");
    let node = nobody.on_node("uname -r").ok();
    assert_ne!(node, rustix::system::uname().release().to_string_lossy());

    // Files, logs, images and ports go the same ways as anywhere.
    let file = nobody.path("greeting");
    fs::write(&file, "hello").expect("written");
    nobody
        .vial(&[
            "cp",
            "-c",
            "box",
            &file.to_string_lossy(),
            "cp-1:/root/greeting",
        ])
        .ok();
    assert_eq!(nobody.on_node("cat /root/greeting").ok(), "hello");
    let log = nobody
        .vial(&["logs", "-c", "box", "cp-1", "containerd", "--tail", "1"])
        .ok();
    assert!(log.contains("level="), "{log}");
    let port = nobody.vial(&["port", "add", "-c", "box", "0:cp-1:22"]).ok();
    assert!(port.contains("127.0.0.1:"), "{port}");
    let ssh = nobody.vial(&["netcat", "-c", "box", "cp-1", "22"]);
    assert!(ssh.stdout.starts_with("SSH-2.0-"), "{ssh:?}");

    // A pod that may do everything sees the machine, and nothing of the host.
    let manifest = nobody.path("spy.yaml");
    fs::write(&manifest, SPY).expect("written");
    let kubectl = |args: &[&str]| nobody.vial(&[&["kubectl", "-c", "box"], args].concat());
    kubectl(&["apply", "-f", &manifest.to_string_lossy()]).ok();
    kubectl(&["wait", "--for=condition=Ready", "pod/spy", "--timeout=180s"]).ok();
    let spy = |script: &str| kubectl(&["exec", "spy", "--", "sh", "-c", script]);
    assert_eq!(spy("uname -r").ok(), node);
    let seen = spy("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; find /host -xdev -maxdepth 2").ok();
    for foreign in [
        "qemu-system",
        "vial-keeper",
        nobody.dir.path().to_str().expect("text"),
    ] {
        assert!(!seen.contains(foreign), "{foreign} in {seen}");
    }

    // The way out leads to the world, not to the host's loopback.
    eventually("the node reaches the world", || {
        let ran = nobody.on_node(&format!("curl -sS --max-time 5 http://{V4}:{PORT}/"));
        (ran.code == 0).then_some(()).ok_or(ran.stderr)
    });
    let open = world.serve_on_host(HOST_V4);
    nobody
        .on_node(&format!("curl -sS --max-time 10 http://{HOST_V4}:{open}/"))
        .ok();
    let shut = world.serve_on_host("127.0.0.1");
    for gateway in ["10.89.129.1", "10.89.0.1"] {
        let ran = nobody.on_node(&format!("curl -sS --max-time 3 http://{gateway}:{shut}/"));
        assert_ne!(ran.code, 0, "{gateway}: {ran:?}");
    }

    // Whoever carries, and whoever keeps, may be killed.
    kill(&nobody.process("vial-link").into());
    assert_eq!(nobody.on_node("echo there").ok(), "there");
    kill(&nobody.process("vial-keeper").into());
    kubectl(&["get", "--raw", "/readyz"]).ok();

    // With the machine ends all of it, and nothing is left.
    kill(&nobody.process("qemu-system").into());
    eventually("nothing runs", || {
        let living = nobody.processes();
        let other: Vec<_> = living
            .iter()
            .filter(|(_, line)| !line.contains("vial-keeper"))
            .collect();
        other.is_empty().then_some(()).ok_or(format!("{other:?}"))
    });
    nobody.vial(&["down", "box"]).ok();
    eventually("the keeper is gone", || {
        let living = nobody.processes();
        living.is_empty().then_some(()).ok_or(format!("{living:?}"))
    });
    assert!(!nobody.path("run/vial").exists());
    assert!(!nobody.path("vial/clusters/box").exists());
    assert_eq!(world.look(), before);
}
