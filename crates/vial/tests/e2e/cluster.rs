//! The first story: up, look around, change something, down.

use std::fs;

use crate::lab::Lab;

#[test]
fn up_gives_a_working_cluster_and_down_leaves_nothing() {
    let lab = Lab::new(&["first"]);
    let up = lab.vial(["up", "first"]);
    assert_eq!(up.code, 0, "{}", up.stderr);
    let last: Vec<_> = up.stderr.lines().rev().take(3).collect();
    assert!(
        last.iter()
            .all(|line| line.contains("kubectl") || line.contains("vial ")),
        "three lines of what to do next: {last:?}"
    );

    let nodes = lab.kubectl("first", &["get", "nodes", "-o", "jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=='Ready')].status} {end}"]).ok();
    assert_eq!(nodes.trim(), "cp-1=True w-1=True w-2=True");

    let check = lab.vial(["check", "first"]);
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    let pods = lab
        .kubectl("first", &["-n", "kube-system", "get", "pods", "-o", "name"])
        .ok();
    assert!(
        !pods.contains("vial-check"),
        "the check removes its pods: {pods}"
    );

    let status = lab.status("first");
    assert_eq!(status["phase"], "running", "{status:#}");
    assert!(lab.vial(["ls"]).ok().contains("first"));
    assert_eq!(lab.vial(["ls", "-o", "name"]).ok(), "first");

    // The context is merged and current, and its file is nobody else's to read.
    let kubeconfig = fs::read_to_string(lab.kubeconfig()).expect("merged");
    assert!(
        kubeconfig.contains("current-context: vial-first"),
        "{kubeconfig}"
    );

    // The host sees a loopback listener for each endpoint and nothing else.
    let endpoints = lab.endpoints("first");
    assert_eq!(endpoints.len(), 2, "API and registry");
    lab.before()
        .assert_same_but(&crate::lab::Host::look(), &endpoints);

    // Again: nothing is restarted.
    let pid = lab.component("first", "cp-1", "kube-apiserver")["pid"].clone();
    lab.vial(["up", "first"]).ok();
    assert_eq!(lab.component("first", "cp-1", "kube-apiserver")["pid"], pid);

    lab.vial(["down", "first"]).ok();
    lab.assert_nothing_left();
    let kubeconfig = fs::read_to_string(lab.kubeconfig()).unwrap_or_default();
    assert!(!kubeconfig.contains("vial-first"), "{kubeconfig}");
    assert_eq!(lab.vial(["status", "first"]).code, 3);
}

#[test]
fn commands_on_nodes_and_their_logs() {
    let lab = Lab::up("nodes", &["--workers", "1"]);
    assert_eq!(lab.exec("nodes", "w-1", &["hostname"]).ok(), "w-1");
    assert_eq!(lab.exec("nodes", "w-1", &["sh", "-c", "exit 7"]).code, 7);
    let big = vec![b'x'; 3_000_000];
    let echoed = lab
        .vial_with(
            &big,
            &["exec", "-c", "nodes", "-i", "w-1", "--", "wc", "-c"],
        )
        .ok();
    assert_eq!(echoed, "3000000");
    assert_eq!(
        lab.exec("nodes", "w-1", &["sh", "-c", "echo out; echo err >&2"])
            .stderr
            .trim(),
        "err"
    );
    // Every node answers to ssh with keys only.
    let banner = lab
        .exec(
            "nodes",
            "cp-1",
            &[
                "bash",
                "-c",
                "exec 3<>/dev/tcp/10.89.0.101/22; head -c 7 <&3",
            ],
        )
        .ok();
    assert_eq!(banner, "SSH-2.0");

    let logs = lab
        .vial([
            "logs",
            "-c",
            "nodes",
            "cp-1",
            "kube-apiserver",
            "--tail",
            "5",
        ])
        .ok();
    assert!(!logs.is_empty());
    let unknown = lab.vial(["logs", "-c", "nodes", "cp-1", "kube-apiservr"]);
    assert!(
        unknown.code == 3 && unknown.stderr.contains("kube-apiserver"),
        "{unknown:?}"
    );

    // A component that crashes comes back and is counted.
    let before = lab.component("nodes", "w-1", "kubelet");
    let pid = before["pid"].to_string();
    lab.exec("nodes", "w-1", &["kill", "-9", &pid]).ok();
    crate::lab::eventually("the kubelet comes back", || {
        let now = lab.component("nodes", "w-1", "kubelet");
        let back = now["state"] == "ready" && now["pid"] != before["pid"] && now["restarts"] == 1;
        back.then_some(()).ok_or_else(|| now.to_string())
    });
}
