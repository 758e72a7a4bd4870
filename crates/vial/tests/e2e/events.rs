//! What happened is told: as it happens, afterwards, and whoever was killed meanwhile.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::lab::{Lab, eventually, kill};

/// Events of a cluster, as `-o json` has them.
fn events(lab: &Lab, cluster: &str, flags: &[&str]) -> Vec<Value> {
    let all = lab.vial([&["events", cluster, "-o", "json"], flags].concat());
    all.json().as_array().expect("a list").clone()
}

/// Waits for an event of this kind about this object.
#[track_caller]
fn happened(lab: &Lab, cluster: &str, kind: &str, object: [&str; 2]) -> Value {
    eventually(&format!("{kind} of {object:?}"), || {
        let all = events(lab, cluster, &[]);
        let found = all.iter().rev().find(|event| is(event, kind, object));
        found.cloned().ok_or_else(|| format!("{all:#?}"))
    })
}

fn is(event: &Value, kind: &str, [node, component]: [&str; 2]) -> bool {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    text("kind") == kind && text("node") == node && text("component") == component
}

fn ids(events: &[Value]) -> Vec<u64> {
    let ids = events.iter().map(|event| event["id"].as_u64());
    ids.collect::<Option<_>>().expect("numbers")
}

#[test]
fn what_happens_to_a_cluster_is_told_and_kept_over_keepers_and_stops() {
    let lab = Lab::up("told", &["--workers", "1"]);
    for component in ["etcd", "kube-apiserver", "kubelet"] {
        happened(&lab, "told", "component-ready", ["cp-1", component]);
    }
    happened(&lab, "told", "node-ready", ["w-1", ""]);
    happened(&lab, "told", "up-finished", ["", ""]);

    // Somebody watches from here to the end.
    let mut watch = lab.command(["events", "told", "-w", "-o", "json"]);
    let mut watch = watch
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("vial runs");
    let watched = BufReader::new(watch.stdout.take().expect("piped"));

    // A component is killed.
    lab.exec("told", "w-1", &["pkill", "-9", "kubelet"]).ok();
    let crashed = happened(&lab, "told", "component-crashed", ["w-1", "kubelet"]);
    assert_eq!(crashed["severity"], "warning");
    assert!(
        crashed["message"]
            .as_str()
            .is_some_and(|text| text.contains("signal 9"))
    );
    eventually("kubelet is ready again", || {
        let all = events(&lab, "told", &["--node", "w-1", "--component", "kubelet"]);
        let kinds: Vec<_> = all.iter().map(|event| &event["kind"]).collect();
        let expected = ["component-ready", "component-crashed", "component-ready"];
        (kinds == expected)
            .then_some(())
            .ok_or(format!("{kinds:?}"))
    });

    // The keeper is killed: the next one tells nothing twice.
    kill(&lab.status("told")["keeperPid"]);
    lab.status("told");
    happened(&lab, "told", "keeper-started", ["", ""]);
    let all = events(&lab, "told", &["--component", "etcd"]);
    assert_eq!(all.len(), 1, "{all:#?}");

    // A container is killed, and comes back.
    kill(&lab.agent_pid("told", "w-1.node").into());
    happened(&lab, "told", "container-ended", ["w-1", ""]);
    eventually("it is brought back", || {
        let all = events(&lab, "told", &[]);
        let ups = all
            .iter()
            .filter(|event| is(event, "up-finished", ["", ""]));
        (ups.count() == 2).then_some(()).ok_or(format!("{all:#?}"))
    });

    // The cluster changes.
    lab.vial(["up", "told", "--workers", "2"]).ok();
    happened(&lab, "told", "changed", ["w-2", ""]);
    happened(&lab, "told", "node-ready", ["w-2", ""]);

    // The sandbox ends: what happened can be read while nothing runs, and goes on after a start.
    kill(&lab.status("told")["sandboxPid"]);
    happened(&lab, "told", "sandbox-ended", ["", ""]);
    eventually("nothing runs", || {
        (!lab.run_dir().exists())
            .then_some(())
            .ok_or_else(String::new)
    });
    let before = events(&lab, "told", &[]);
    lab.vial(["up", "told"]).ok();
    let after = events(&lab, "told", &[]);
    assert!(after.len() > before.len() && ids(&before).iter().all(|id| ids(&after).contains(id)));

    // Filters.
    let none = events(&lab, "told", &["--since", "2100-01-01T00:00:00Z"]);
    assert!(none.is_empty(), "{none:#?}");
    let of_node = events(&lab, "told", &["--node", "cp-1"]);
    assert!(!of_node.is_empty() && of_node.iter().all(|event| event["node"] == "cp-1"));
    let unknown = lab.vial(["events", "told", "--node", "w1"]);
    assert_eq!(unknown.code, 3);
    assert!(
        unknown.stderr.contains("did you mean w-1"),
        "{}",
        unknown.stderr
    );
    assert_eq!(lab.vial(["events", "told", "--since", "soon"]).code, 2);

    // Who watched saw all of it once, one object a line, to the removal.
    let all = ids(&events(&lab, "told", &[]));
    lab.vial(["down", "told"]).ok();
    let watched: Vec<Value> = watched
        .lines()
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect();
    assert!(watch.wait().expect("it ends").success());
    let mut seen = ids(&watched);
    let removed = watched.last().expect("events");
    assert_eq!(removed["kind"], "down-started");
    assert!(all.iter().all(|id| seen.contains(id)), "{all:?} {seen:?}");
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
    assert_eq!(lab.vial(["events", "told"]).code, 3);
    lab.assert_nothing_left();
}
