//! Workers that are virtual machines: nodes like all others, on a kernel of their own.

use std::io::Write as _;
use std::process::Stdio;
use std::time::SystemTime;

use crate::lab::{Lab, Ran, eventually, kill};

/// Every node has it.
const TOOLBOX: &str = "docker.io/vial/toolbox:1";

/// A pod on a node that says something by HTTP, and the Service `web` before it, of which more may be said.
fn web(node: &str, says: &str, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  nodeName: {node}
  containers:
    - {{name: web, image: \"{TOOLBOX}\", command: [sh, -c, 'echo {says} > index.html; exec busybox httpd -f -p 80']}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{{more}selector: {{app: web}}, ports: [{{port: 80}}]}}
"
    )
}

#[test]
fn a_virtual_machine_is_a_worker_like_any_other() {
    let lab = Lab::up("machines", &["--workers", "1", "--vm-workers", "1"]);
    lab.vial(["check", "machines"]).ok();
    let status = lab.status("machines");
    let nodes = status["nodes"].as_array().expect("a list");
    let drivers: Vec<_> = nodes.iter().map(|node| &node["driver"]).collect();
    assert_eq!(drivers, ["container", "container", "vm"]);

    // A kernel of its own, which has what the host's may not have.
    let on = |node: &str, script: &str| lab.exec("machines", node, &["sh", "-c", script]);
    let host = rustix::system::uname();
    let release = on("w-2", "uname -r").ok();
    assert_ne!(release, host.release().to_string_lossy());
    assert_eq!(on("w-1", "uname -r").ok(), host.release().to_string_lossy());
    on(
        "w-2",
        "modprobe -a ip_vs wireguard dummy sch_netem && ip link add d0 type dummy",
    )
    .ok();
    assert_eq!(
        on("w-2", "nproc; head -zn 1 /proc/1/cmdline | tr -d '\\0'").ok(),
        "2\nvial-machine"
    );
    assert_eq!(on("w-2", "exit 7").code, 7);
    // It knows the time and who it is, and has entropy of the host's.
    let asked = SystemTime::now();
    let now = on("w-2", "date +%s").ok().parse().expect("seconds");
    let there = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(now);
    // To the second, and by as much as asking took.
    let late = asked.elapsed().expect("later").as_secs() + 1;
    let apart = there
        .duration_since(asked)
        .unwrap_or_else(|early| early.duration());
    assert!(apart.as_secs() <= late, "{apart:?} apart, {late} s later");
    let ids = ["w-1", "w-2"].map(|node| on(node, "cat /etc/machine-id").ok());
    assert!(ids[0] != ids[1] && ids[1].len() == 32, "{ids:?}");
    let random = "cat /sys/devices/virtual/misc/hw_random/rng_current";
    assert_eq!(on("w-2", random).ok(), "virtio_rng.0");
    // The image is shared and read-only, the disk its own.
    let disks = on("w-2", "grep -h . /sys/block/vd*/serial; lsblk -dnro RO").ok();
    assert_eq!(disks, "root\nvial\ndata\n1\n1\n0");
    let disk = lab.cluster_dir("machines").join("nodes/w-2/machine/data");
    let bytes = std::os::unix::fs::MetadataExt::blocks(&disk.metadata().expect("a disk")) * 512;
    assert!(bytes < 30_000_000, "{bytes} bytes of the host's disk");
    // Nobody of the host runs it.
    let qemu = || lab.pid_of("machines", "qemu-system-x86");
    let before = qemu();
    let owner = std::fs::metadata(format!("/proc/{before}")).expect("it runs");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 65_534);

    // A pod on it answers pods elsewhere by a Service, and ssh and cp find the node.
    lab.apply("machines", &web("w-2", "from the machine", ""));
    lab.await_pod("machines", "web");
    for node in ["cp-1", "w-1", "w-2"] {
        let address = lab.kubectl(
            "machines",
            &["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"],
        );
        let get = format!(
            "curl -sf --retry 20 --retry-connrefused http://{}/",
            address.ok()
        );
        assert_eq!(on(node, &get).ok(), "from the machine", "{node}");
    }
    assert_eq!(
        lab.kubectl("machines", &["exec", "web", "--", "uname", "-r"])
            .ok(),
        release
    );
    let file = lab.file("brought", "by cp");
    lab.vial(["cp", "-c", "machines", &file, "w-2:/etc/brought"])
        .ok();
    assert_eq!(on("w-2", "cat /etc/brought").ok(), "by cp");
    // What listens on the guest's own loopback only is reached from the host too: the kubelet tells its health there.
    let healthy = lab.vial_with(
        b"GET /healthz HTTP/1.0\r\n\r\n",
        &["netcat", "-c", "machines", "w-2", "10248"],
    );
    assert!(healthy.stdout.ends_with("ok"), "{healthy:?}");
    // The registry has the same name on the guest as on the host.
    let registry = lab.status("machines")["registry"]["host"].clone();
    let registry = registry.as_str().expect("an address");
    on("w-2", &format!("curl -sf http://{registry}/v2/")).ok();

    // Its end is seen, on its console too, and it comes back with what was flushed to its disk.
    on("w-2", "sync").ok();
    let mut console = lab.command(["console", "-c", "machines", "w-2", "--tail", "0"]);
    let console = console.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut console = console.stderr(Stdio::piped()).spawn().expect("it runs");
    let mut keys = console.stdin.take().expect("piped");
    keys.write_all(b"typed\r").expect("it listens");
    eventually("what was typed is on the console", || {
        let said = lab.vial([
            "logs",
            "-c",
            "machines",
            "--node",
            "w-2",
            "--component",
            "console",
        ]);
        said.stdout
            .contains("typed")
            .then_some(())
            .ok_or(said.stdout)
    });
    kill(&before);
    let console = Ran::of(console.wait_with_output().expect("it ends"));
    let told = console.stderr.contains("the machine of w-2 has ended");
    assert!(told && console.stdout.contains("typed"), "{console:?}");
    eventually("the machine to come back", || {
        let file = on("w-2", "cat /etc/brought");
        match file.stdout.as_str() {
            "by cp" => Ok(()),
            _ => Err(format!("{file:?}")),
        }
    });
    assert_ne!(qemu(), before);
    lab.vial(["up", "machines"]).ok();
    lab.vial(["check", "machines"]).ok();
    let told = lab.vial(["events", "machines"]).ok();
    assert!(
        told.contains("machine-ended") && told.contains("it ended by itself, its console said"),
        "{told}"
    );

    lab.vial(["down", "machines"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn a_machine_that_panics_is_shown_and_comes_back_unless_it_shall_not() {
    let lab = Lab::new(&["panics"]);
    let file = lab.file(
        "vial.yaml",
        "{apiVersion: vial/v1, kind: Cluster, workers: 0, vmWorkers: 2, nodes: {\
         w-1: {vm: {disks: [{name: both, size: 64Mi, shared: true}]}}, \
         w-2: {vm: {disks: [{name: both, size: 64Mi, shared: true}], restart: never}}}}",
    );
    lab.vial(["up", "panics", "-f", &file]).ok();
    for command in ["screenshot", "vnc"] {
        let ran = lab.vial([command, "-c", "panics", "w-1"]);
        let words = ["has no display", "vial up --vm-workers 1 --display"];
        let told = words.iter().all(|words| ran.stderr.contains(words));
        assert!(ran.code == 2 && told, "{ran:?}");
    }
    // What one writes to a disk of both, the other reads.
    let on = |node: &str, script: &str| lab.exec("panics", node, &["sh", "-c", script]);
    let disk = "/dev/disk/by-id/both bs=512 count=1 status=none";
    on(
        "w-1",
        &format!("echo shared | dd conv=sync oflag=direct of={disk}"),
    )
    .ok();
    let read = on("w-2", &format!("dd iflag=direct if={disk} | head -n 1"));
    assert_eq!(read.ok(), "shared");
    for node in ["w-1", "w-2"] {
        // Whoever asks does not hear the end.
        let crash = "sleep 1; echo c > /proc/sysrq-trigger";
        let crash = format!("nohup setsid sh -c '{crash}' >/dev/null 2>&1 &");
        lab.exec("panics", node, &["sh", "-c", &crash]).ok();
    }
    let node = |index: usize| lab.status("panics")["nodes"][index].clone();
    for index in [1, 2] {
        eventually("its last words", || {
            let node = node(index);
            let said = node["ended"]["message"].as_str().unwrap_or_default();
            match said.contains("Kernel panic - not syncing: sysrq triggered crash") {
                true => Ok(()),
                false => Err(node.to_string()),
            }
        });
    }
    let told = lab.vial(["events", "panics"]).ok();
    assert!(told.contains("Kernel panic"), "{told}");
    let shown = lab.vial(["status", "panics"]).ok();
    assert!(shown.contains("Kernel panic"), "{shown}");
    let console = [
        "logs",
        "-c",
        "panics",
        "--node",
        "w-1",
        "--component",
        "console",
    ];
    assert!(lab.vial(console).ok().contains("Kernel panic"));

    // One comes back by itself, the other one when it is told to.
    lab.vial(["up", "panics"]).ok();
    assert_eq!(
        (&node(1)["stopped"], &node(1)["ready"]),
        (&false.into(), &"True".into())
    );
    assert_eq!(node(2)["stopped"], true);
    lab.vial(["check", "panics"]).ok();
    lab.vial(["node", "start", "w-2", "-c", "panics"]).ok();
    assert_eq!(node(2)["stopped"], false);
    lab.vial(["down", "panics"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn a_control_plane_can_be_a_machine_with_what_the_host_lacks() {
    let lab = Lab::new(&["kernel"]);
    let file = lab.file(
        "vial.yaml",
        "{apiVersion: vial/v1, kind: Cluster, workers: 1, controlPlane: {driver: vm, \
         components: {kube-proxy: {config: {mode: ipvs}}}}}",
    );
    lab.vial(["up", "kernel", "-f", &file]).ok();
    let status = lab.status("kernel");
    let nodes = status["nodes"].as_array().expect("a list");
    let drivers: Vec<_> = nodes.iter().map(|node| &node["driver"]).collect();
    assert_eq!(drivers, ["vm", "container"]);
    let on = |script: &str| lab.exec("kernel", "cp-1", &["sh", "-c", script]);
    let container = [
        "exec",
        "-c",
        "kernel",
        "--container",
        "control-plane",
        "cp-1",
        "--",
        "pidof",
    ];
    assert_ne!(lab.vial([&container[..], &["etcd"]].concat()).ok(), "");

    // Pods and nodes meet by Services that kube-proxy keeps in IPVS.
    lab.vial(["check", "kernel"]).ok();
    let table = on("cat /proc/net/ip_vs").ok();
    assert!(table.contains("TCP  0A600001:01BB rr"), "{table}");
    on("ip link add wg0 type wireguard && ip link add d0 type dummy && ip link set d0 up && \
        tc qdisc add dev d0 root netem delay 10ms && tc qdisc show dev d0 | grep -q 'netem.*delay 10ms'")
    .ok();

    // The host reaches Services through the machine.
    let answer = lab.vial_with(
        b"GET /livez HTTP/1.0\r\n\r\n",
        &["netcat", "-c", "kernel", "svc/default/kubernetes", "443"],
    );
    assert!(
        answer.stdout.contains("HTTP request to an HTTPS server"),
        "{answer:?}"
    );

    // The cluster knows what it knew after a power loss of its control plane.
    lab.kubectl("kernel", &["create", "configmap", "kept"]).ok();
    on("sync").ok();
    lab.vial(["node", "stop", "cp-1", "--hard", "-c", "kernel"])
        .ok();
    lab.vial(["node", "start", "cp-1", "-c", "kernel"]).ok();
    lab.kubectl("kernel", &["get", "configmap", "kept"]).ok();
    lab.vial(["down", "kernel"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn two_clusters_with_machines_do_not_know_of_each_other() {
    let lab = Lab::new(&["left", "right"]);
    let both = ["left", "right"];
    for cluster in both {
        lab.vial([
            "up",
            cluster,
            "--workers",
            "0",
            "--vm-workers",
            "1",
            "--vm-memory",
            "1Gi",
        ])
        .ok();
        lab.apply(cluster, &web("w-1", cluster, "clusterIP: 10.96.0.80, "));
    }
    let on =
        |cluster: &str, node: &str, script: &str| lab.exec(cluster, node, &["sh", "-c", script]);
    let serves = |cluster: &str| {
        let get = "curl -sf --retry 20 --retry-connrefused http://10.96.0.80/";
        assert_eq!(on(cluster, "cp-1", get).ok(), cluster);
    };
    // The same addresses in both, inside and of the machines' interfaces.
    let link = both.map(|cluster| {
        on(
            cluster,
            "w-1",
            "cat /sys/class/net/eth0/address; ip -4 -br a s eth0",
        )
        .ok()
    });
    assert!(link[0].contains("10.89.0.101/24"), "{}", link[0]);
    assert_eq!(link[0], link[1]);
    for cluster in both {
        lab.await_pod(cluster, "web");
        serves(cluster);
    }

    // What is killed of one does not touch the other.
    let boot = |cluster: &str| on(cluster, "w-1", "cat /proc/sys/kernel/random/boot_id");
    let qemu = |cluster: &str| lab.pid_of(cluster, "qemu-system-x86");
    let before = both.map(|cluster| (qemu(cluster), boot(cluster).ok()));
    kill(&before[0].0);
    eventually("the machine to come back", || {
        let boot = boot("left");
        match boot.code == 0 && boot.stdout.trim() != before[0].1 {
            true => Ok(()),
            false => Err(format!("{boot:?}")),
        }
    });
    let second = (qemu("left"), boot("left").ok());
    kill(&lab.status("left")["keeperPid"]);
    // The next keeper finds the machine as it was.
    lab.vial(["up", "left"]).ok();
    assert_eq!((qemu("left"), boot("left").ok()), second);
    assert_eq!((qemu("right"), boot("right").ok()), before[1]);
    for cluster in both {
        lab.await_pod(cluster, "web");
        serves(cluster);
    }
    // With the first process of a sandbox its machines end, and no other's.
    let machine = qemu("left");
    kill(&lab.status("left")["sandboxPid"]);
    eventually("the machine to be gone", || {
        let gone = !std::path::Path::new(&format!("/proc/{machine}")).exists();
        gone.then_some(()).ok_or_else(|| machine.to_string())
    });
    lab.vial(["down", "left"]).ok();
    serves("right");
    lab.vial(["down", "right"]).ok();
    lab.assert_nothing_left();
}
