//! Single nodes: stopped, started, begun anew, removed, added, over the death of keepers too.

use std::fs;

use crate::lab::{Lab, eventually, kill};

/// Pods run it, in every node image.
const TOOLBOX: &str = "docker.io/vial/toolbox:1";

/// Processes of a node's containers.
fn processes(cluster: &str, node: &str) -> Vec<String> {
    let read = |pid: &str, file| fs::read_to_string(format!("/proc/{pid}/{file}"));
    let entries = fs::read_dir("/proc").expect("processes").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let of_node = |pid: &String| {
        let groups = read(pid, "cgroup").unwrap_or_default();
        groups.contains(&format!("/vial/{cluster}-")) && groups.contains(&format!("/{node}."))
    };
    pids.filter(of_node)
        .map(|pid| read(&pid, "comm").unwrap_or_default())
        .collect()
}

fn file(lab: &Lab, cluster: &str, node: &str) -> String {
    lab.exec(cluster, node, &["cat", "/root/file"]).stdout
}

/// A worker with a pod and a file on it.
#[track_caller]
fn settle(lab: &Lab, cluster: &str, node: &str) {
    lab.exec(
        cluster,
        node,
        &["sh", "-c", "echo mine > /root/file; sync /root/file"],
    )
    .ok();
    lab.apply(
        cluster,
        &format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: resident}}, spec: {{nodeName: {node}, \
             containers: [{{name: c, image: \"{TOOLBOX}\", command: [sleep, infinity]}}]}}}}"
        ),
    );
    lab.await_pod(cluster, "resident");
}

#[test]
fn a_node_is_stopped_started_begun_anew_removed_and_added() {
    let lab = Lab::up("nodes", &["--workers", "2"]);
    settle(&lab, "nodes", "w-1");
    assert!(processes("nodes", "w-1").contains(&"sleep\n".to_owned()));

    // Stopped, it stays so: whoever dies, whatever else is brought up.
    lab.vial(["node", "stop", "w-1", "-c", "nodes"]).ok();
    let is_stopped = || {
        assert_eq!(processes("nodes", "w-1"), Vec::<String>::new());
        let status = lab.status("nodes");
        let node = &status["nodes"][1];
        assert_eq!(
            (&node["name"], &node["stopped"]),
            (&"w-1".into(), &true.into())
        );
        assert_eq!(status["phase"], "running", "{status}");
        status
    };
    kill(&is_stopped()["keeperPid"]);
    is_stopped();
    kill(&is_stopped()["sandboxPid"]);
    eventually("the cluster to be stopped", || {
        let phase = lab.status("nodes")["phase"].clone();
        if phase == "stopped" {
            Ok(())
        } else {
            Err(phase.to_string())
        }
    });
    lab.vial(["up", "nodes"]).ok();
    is_stopped();
    // The API takes its time to see that what served on the node, DNS perhaps, is not there.
    eventually("the other nodes to do without it", || {
        let ran = lab.vial(["check", "nodes"]);
        (ran.code == 0).then_some(()).ok_or(ran.stdout)
    });
    let again = lab.vial(["node", "stop", "w-1", "-c", "nodes"]);
    assert!(again.stderr.contains("w-1 is stopped already"), "{again:?}");
    for command in ["exec -c nodes w-1 -- true", "logs -c nodes --node w-1"] {
        let ran = lab.vial(command.split(' '));
        assert_eq!(ran.code, 1);
        assert!(
            ran.stderr.contains("vial node start w-1 -c nodes"),
            "{ran:?}"
        );
    }

    // Started, it is what it was.
    lab.vial(["node", "start", "w-1", "-c", "nodes"]).ok();
    assert_eq!(file(&lab, "nodes", "w-1"), "mine\n");
    lab.await_pod("nodes", "resident");
    let again = lab.vial(["node", "start", "w-1", "-c", "nodes"]);
    assert!(again.stderr.contains("w-1 was not stopped"), "{again:?}");
    again.ok();

    // The plug is pulled; and anew it has nothing of before but its name.
    lab.vial(["node", "stop", "w-1", "--hard", "-c", "nodes"])
        .ok();
    is_stopped();
    let uid = || {
        let uid = ["get", "node", "w-1", "-o", "jsonpath={.metadata.uid}"];
        lab.kubectl("nodes", &uid).ok()
    };
    let before = uid();
    lab.vial(["node", "reset", "w-1", "-c", "nodes"]).ok();
    assert_eq!(file(&lab, "nodes", "w-1"), "");
    assert_ne!(uid(), before);
    lab.vial(["check", "nodes"]).ok();

    // Removed, it stays away.
    lab.vial(["node", "rm", "w-1", "-c", "nodes"]).ok();
    assert_eq!(processes("nodes", "w-1"), Vec::<String>::new());
    assert!(!lab.cluster_dir("nodes").join("nodes/w-1").exists());
    let names = || lab.vial(["node", "ls", "-c", "nodes", "-o", "name"]).ok();
    assert_eq!(names(), "cp-1\nw-2");
    lab.vial(["up", "nodes"]).ok();
    assert_eq!(names(), "cp-1\nw-2");
    assert_eq!(
        lab.kubectl("nodes", &["get", "nodes", "-o", "name"]).ok(),
        "node/cp-1\nnode/w-2"
    );
    let added = lab
        .vial(["node", "add", "--count", "2", "-c", "nodes"])
        .ok();
    assert_eq!(added, "w-1\nw-3");
    lab.vial(["check", "nodes"]).ok();
    lab.vial(["down", "nodes"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn what_cannot_be_done_to_a_node_is_told_and_changes_nothing() {
    let lab = Lab::up("refusals", &["--workers", "1"]);
    let before = lab.status("refusals")["nodes"].clone();
    for (command, code, told) in [
        ("stop w-9", 3, "has no node \"w-9\""),
        ("stop w-1 w-9", 3, "did you mean \"w-1\""),
        ("start nothing-like-it", 3, "there are cp-1, w-1"),
        ("reset cp-1", 5, "is the control plane"),
        ("rm w-1 cp-1", 5, "is the control plane"),
        ("add --count 20", 5, "at most 20 workers"),
        ("add --count 0", 2, "no worker more"),
        ("add --like w-7", 3, "did you mean \"w-1\""),
        ("stop w-1 w-1.other.vial", 2, "several clusters"),
    ] {
        let ran = lab.vial(format!("node {command} -c refusals").split(' '));
        assert_eq!(ran.code, code, "{command}: {ran:?}");
        assert!(ran.stderr.contains(told), "{command}: {ran:?}");
    }
    let names = |nodes: &serde_json::Value| {
        let nodes = nodes.as_array().expect("a list").iter();
        nodes
            .map(|node| (node["name"].clone(), node["stopped"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&lab.status("refusals")["nodes"]));

    // Without the control plane no node can join: it is told at once.
    lab.vial(["node", "stop", "cp-1", "-c", "refusals"]).ok();
    for command in [
        "node add -c refusals",
        "node start w-1 -c refusals",
        "up refusals",
    ] {
        let ran = lab.vial(command.split(' '));
        assert_eq!(ran.code, 5, "{command}: {ran:?}");
        assert!(
            ran.stderr.contains("vial node start cp-1 -c refusals"),
            "{ran:?}"
        );
    }
    lab.vial(["node", "start", "cp-1", "-c", "refusals"]).ok();
    lab.vial(["check", "refusals"]).ok();
    lab.vial(["node", "rm", "w-8", "--ignore-not-found", "-c", "refusals"])
        .ok();
}

#[test]
fn a_machine_keeps_its_disk_and_meets_nodes_that_come_later() {
    let lab = Lab::up("plugs", &["--workers", "0", "--vm-workers", "1"]);
    settle(&lab, "plugs", "w-1");
    let is_stopped = || assert_eq!(processes("plugs", "w-1"), Vec::<String>::new());

    lab.vial(["node", "stop", "w-1", "-c", "plugs"]).ok();
    is_stopped();
    kill(&lab.status("plugs")["keeperPid"]);
    lab.vial(["node", "start", "w-1", "-c", "plugs"]).ok();
    assert_eq!(file(&lab, "plugs", "w-1"), "mine\n");

    let script = "echo flushed > /root/file; sync /root/file";
    lab.exec("plugs", "w-1", &["sh", "-c", script]).ok();
    lab.vial(["node", "stop", "w-1", "--hard", "-c", "plugs"])
        .ok();
    is_stopped();
    lab.vial(["node", "start", "w-1", "-c", "plugs"]).ok();
    assert_eq!(file(&lab, "plugs", "w-1"), "flushed\n");

    // A node that came after the machine was started: pods of both meet.
    assert_eq!(lab.vial(["node", "add", "-c", "plugs"]).ok(), "w-2");
    lab.apply("plugs", &format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: late}}, spec: {{nodeName: w-2, containers: [{{name: c, \
         image: \"{TOOLBOX}\", command: [sh, -c, 'echo late > index.html; exec busybox httpd -f -p 80']}}]}}}}"
    ));
    lab.await_pod("plugs", "late");
    lab.await_pod("plugs", "resident");
    let address = ["get", "pod", "late", "-o", "jsonpath={.status.podIP}"];
    let url = format!("http://{}/", lab.kubectl("plugs", &address).ok());
    let get = [
        "exec",
        "resident",
        "--",
        "curl",
        "-sf",
        "--retry",
        "9",
        "--retry-connrefused",
        &url,
    ];
    assert_eq!(lab.kubectl("plugs", &get).ok(), "late");

    lab.vial(["node", "rm", "w-1", "-c", "plugs"]).ok();
    is_stopped();
    lab.vial(["check", "plugs"]).ok();
    lab.vial(["down", "plugs"]).ok();
    lab.assert_nothing_left();
}
