//! Logs of all nodes as one: in the order of time, over nodes that hang or fall, until the cluster is gone.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::lab::{Lab, eventually, signal};

fn objects(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect()
}

fn said<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().expect("a string")
}

#[test]
fn logs_of_all_nodes_are_one_in_the_order_of_time() {
    let lab = Lab::up("merged", &["--workers", "1"]);
    let logs = |args: &[&str]| lab.vial([&["logs", "-c", "merged"], args].concat());

    let all = objects(&logs(&["-o", "json"]).ok());
    let nodes: BTreeSet<_> = all.iter().map(|line| said(line, "node")).collect();
    let there = ["cp-1", "init", "keeper", "registry", "w-1"];
    // A keeper that met no trouble has said nothing.
    assert!(nodes.is_subset(&there.into()), "{nodes:?}");
    assert!(nodes.len() >= 4, "{nodes:?}");
    assert!(all.is_sorted_by_key(|line| said(line, "time").to_owned()));

    // The kubelets of both nodes write at one time, so their lines are mixed.
    let kubelets = objects(&logs(&["--component", "kubelet", "-o", "json"]).ok());
    let turns = kubelets.chunk_by(|one, other| one["node"] == other["node"]);
    assert!(turns.count() > 2, "{kubelets:?}");
    let last = said(kubelets.last().expect("lines"), "time");
    let since = objects(&logs(&["--component", "kubelet", "-o", "json", "--since", last]).ok());
    assert!(!since.is_empty() && since.iter().all(|line| said(line, "time") >= last));

    // By its full name a log is as it is.
    let path = lab
        .cluster_dir("merged")
        .join("nodes/w-1/log/vial/kubelet.log");
    let plain = logs(&["w-1", "kubelet"]).ok();
    assert!(fs::read_to_string(path).expect("a log").starts_with(&plain));
    let script = "vial logs -c merged | head -1";
    assert_eq!(lab.shell(script, &[]).ok().lines().count(), 1);

    for (args, hint) in [
        (&["w1"][..], "did you mean w-1"),
        (&["kubelet"], "--component kubelet"),
        (
            &["-n", "cp-1,w-1", "--component", "kubelte"],
            "did you mean kubelet",
        ),
    ] {
        let ran = logs(args);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.stderr.contains(hint), "{ran:?}");
    }
}

#[test]
fn a_node_that_hangs_is_told_and_one_that_falls_is_followed_again() {
    let lab = Lab::up("followed", &["--workers", "1"]);
    let agent = lab.agent_pid("followed", "w-1.node");
    signal(agent, Signal::STOP);
    let ran = lab.vial(["logs", "-c", "followed", "--tail", "1", "-o", "json"]);
    signal(agent, Signal::CONT);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("`w-1` cannot be read"), "{ran:?}");
    let others = objects(&ran.stdout);
    assert!(others.iter().any(|line| line["node"] == "cp-1"), "{ran:?}");
    assert!(others.iter().all(|line| line["node"] != "w-1"), "{ran:?}");

    let shown = lab.dir().join("shown");
    let file = fs::File::create(&shown).expect("made");
    let args = [
        "logs",
        "-c",
        "followed",
        "-f",
        "-o",
        "json",
        "--component",
        "containerd",
    ];
    let mut follow = lab.command(args);
    let mut follow = follow
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let starts = |node: &str| {
        let text = fs::read_to_string(&shown).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let lines = objects(whole);
        let booted = |line: &&Value| {
            line["node"] == node && said(line, "message").contains("successfully booted")
        };
        lines.iter().filter(booted).count()
    };
    let until = |node: &str, count: usize| {
        eventually("it is shown", || match starts(node) {
            seen if seen == count => Ok(()),
            seen => Err(format!("{node} started {seen} times")),
        });
    };
    until("w-1", 1);
    signal(lab.agent_pid("followed", "w-1.node"), Signal::KILL);
    until("w-1", 2);
    lab.vial(["up", "followed", "--workers", "2"]).ok();
    until("w-2", 1);
    lab.vial(["down", "followed"]).ok();
    assert!(follow.wait().expect("it ends").success());
    assert_eq!([starts("cp-1"), starts("w-1"), starts("w-2")], [1, 2, 1]);
    lab.assert_nothing_left();
}
