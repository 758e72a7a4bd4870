//! What vial.yaml asks for is there, and a change of it changes just that.

use crate::lab::Lab;

fn yaml(extra: &str) -> String {
    format!(
        "apiVersion: vial/v1
kind: Cluster
featureGates: {{CustomCPUCFSQuotaPeriod: true}}
components:
  kubelet: {{config: {{maxPods: 42}}}}
  {extra}
workers:
  count: 1
  labels: {{disk: fast}}
  taints: [{{key: dedicated, value: lab, effect: PreferNoSchedule}}]
  files: [{{path: /etc/motd.lab, content: \"hello\\n\", mode: \"0640\"}}]
  mounts: [{{hostPath: HOSTPATH, nodePath: /mnt/host, readOnly: true}}]
manifests:
  - {{name: ns, content: \"apiVersion: v1\\nkind: Namespace\\nmetadata: {{name: made-by-vial}}\\n\"}}
"
    )
}

#[test]
fn a_file_configures_nodes_components_and_objects() {
    let lab = Lab::new(&["conf"]);
    let host = lab.dir().join("shared");
    std::fs::create_dir(&host).expect("made");
    std::fs::write(host.join("note"), "from the host").expect("written");
    let write = |extra: &str| {
        lab.file(
            "vial.yaml",
            &yaml(extra).replace("HOSTPATH", &host.to_string_lossy()),
        )
    };
    let file = write("");
    lab.vial(["up", "conf", "-f", &file]).ok();

    let node = lab
        .kubectl("conf", &["get", "node", "w-1", "-o", "json"])
        .json();
    assert_eq!(node["metadata"]["labels"]["disk"], "fast");
    assert!(
        node["spec"]["taints"].to_string().contains("dedicated"),
        "{}",
        node["spec"]
    );
    assert_eq!(node["status"]["capacity"]["pods"], "42");
    assert_eq!(
        lab.exec("conf", "w-1", &["stat", "-c", "%a", "/etc/motd.lab"])
            .ok(),
        "640"
    );
    assert_eq!(
        lab.exec("conf", "w-1", &["cat", "/mnt/host/note"]).ok(),
        "from the host"
    );
    assert_ne!(lab.exec("conf", "w-1", &["touch", "/mnt/host/new"]).code, 0);
    lab.kubectl("conf", &["get", "namespace", "made-by-vial"])
        .ok();

    // One flag of one component: only that one gets a new process.
    let pids = |names: &[(&str, &str)]| -> Vec<String> {
        names
            .iter()
            .map(|(node, name)| lab.component("conf", node, name)["pid"].to_string())
            .collect()
    };
    let others = [
        ("cp-1", "etcd"),
        ("cp-1", "kube-apiserver"),
        ("cp-1", "kube-controller-manager"),
        ("w-1", "kubelet"),
        ("w-1", "containerd"),
    ];
    let (before, scheduler) = (pids(&others), pids(&[("cp-1", "kube-scheduler")]));
    let file = write("kube-scheduler: {args: {v: \"3\"}}");
    let up = lab.vial(["up", "conf", "-f", &file]);
    assert!(
        up.code == 0 && up.stderr.contains("kube-scheduler on cp-1"),
        "{}",
        up.stderr
    );
    assert_eq!(pids(&others), before);
    assert_ne!(pids(&[("cp-1", "kube-scheduler")]), scheduler);
    let line = lab
        .vial(["logs", "-c", "conf", "cp-1", "kube-scheduler"])
        .ok();
    assert!(line.contains("--v=\"3\""), "the flag reached the program");

    // What a living cluster cannot take is refused, and nothing changes.
    let refused = lab.vial(["up", "conf", "--ip-family", "ipv4"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("vial down conf"),
        "{}",
        refused.stderr
    );
    lab.vial(["check", "conf"]).ok();
}

#[test]
fn workers_come_and_go() {
    let lab = Lab::up("scaled", &["--workers", "1"]);
    lab.vial(["up", "scaled", "--workers", "3"]).ok();
    lab.vial(["check", "scaled"]).ok();
    let names = || {
        lab.kubectl(
            "scaled",
            &["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"],
        )
        .ok()
    };
    assert_eq!(names(), "cp-1 w-1 w-2 w-3");
    lab.vial(["up", "scaled", "--workers", "1"]).ok();
    assert_eq!(names(), "cp-1 w-1");
    lab.vial(["check", "scaled"]).ok();
}

/// A name server on loopback that answers every question of type A with 192.0.2.7; ends with the test's process.
fn name_server() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            // RFC 1035, 4.1: header of 12 bytes, then the question; we copy both and point the answer at the question.
            let question = buffer[12..length]
                .iter()
                .position(|byte| *byte == 0)
                .map_or(length, |end| 12 + end + 5);
            let mut answer = buffer[..question].to_vec();
            let is_a = answer[question - 4..question] == [0, 1, 0, 1];
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..12].copy_from_slice(&[0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
            }
            let _ = socket.send_to(&answer, client);
        }
    });
    port
}

#[test]
fn names_of_the_outside_world_are_asked_of_the_hosts_resolvers() {
    let lab = Lab::new(&["named"]);
    let yaml = format!(
        "apiVersion: vial/v1\nkind: Cluster\nworkers: 1\nnetwork: {{dns: {{upstreams: [\"127.0.0.1:{}\"]}}}}\n",
        name_server()
    );
    lab.vial(["up", "named", "-f", &lab.file("vial.yaml", &yaml)])
        .ok();
    assert_eq!(
        lab.exec("named", "w-1", &["dig", "+short", "lab.example."])
            .ok(),
        "192.0.2.7"
    );
    assert_eq!(
        lab.exec("named", "w-1", &["dig", "+short", "cp-1.vial."])
            .ok(),
        "10.89.0.11"
    );
    let run = [
        "run",
        "asks",
        "--image=vial/toolbox",
        "--restart=Never",
        "--",
        "dig",
        "+short",
        "lab.example.",
    ];
    lab.kubectl("named", &run).ok();
    let ended = [
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/asks",
        "--timeout=60s",
    ];
    lab.kubectl("named", &ended).ok();
    assert_eq!(lab.kubectl("named", &["logs", "asks"]).ok(), "192.0.2.7");
}
