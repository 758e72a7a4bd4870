//! Frozen, thawed, forked, stopped, paused: clusters of namespaces.

use std::fs;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::lab::{Lab, eventually, kill};

#[track_caller]
fn remember(lab: &Lab, cluster: &str, what: &str) {
    let create = ["create", "configmap", what, "--from-literal=a=b"];
    lab.kubectl(cluster, &create).ok();
}

fn knows(lab: &Lab, cluster: &str, what: &str) -> bool {
    lab.kubectl(cluster, &["get", "configmap", what]).code == 0
}

/// A template is not the cluster's: nobody else removes it.
struct Removed<'a>(&'a Lab, &'a str);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let (Self(lab, name), force) = (self, "--force");
        lab.vial(["template", "rm", name, force, "--ignore-not-found"]);
    }
}

#[test]
fn copies_go_on_from_one_moment_side_by_side_with_the_cluster() {
    let lab = Lab::new(&["parent", "thawed", "forked"]);
    let _template = Removed(&lab, "moment");
    lab.vial(["up", "parent", "--workers", "1"]).ok();
    remember(&lab, "parent", "before");
    let api = lab.component("parent", "cp-1", "kube-apiserver");
    lab.vial(["freeze", "parent", "--as", "moment"]).ok();
    remember(&lab, "parent", "after");
    assert_eq!(
        lab.component("parent", "cp-1", "kube-apiserver"),
        api,
        "it went on"
    );

    lab.vial(["thaw", "moment", "thawed"]).ok();
    assert!(knows(&lab, "thawed", "before") && !knows(&lab, "thawed", "after"));
    lab.vial(["check", "thawed"]).ok();
    let hosts = |cluster: &str| lab.status(cluster)["api"].clone();
    assert_ne!(hosts("thawed"), hosts("parent"));
    // Neither knows of the other.
    remember(&lab, "thawed", "mine");
    assert!(!knows(&lab, "parent", "mine"));

    lab.vial(["fork", "parent", "forked"]).ok();
    assert!(knows(&lab, "forked", "after") && !knows(&lab, "forked", "mine"));
    lab.vial(["check", "forked"]).ok();
    lab.vial(["check", "parent"]).ok();
    assert_eq!(lab.vial(["template", "ls", "-o", "name"]).ok(), "moment");

    // A pod that was there starts again, and a new one comes to every node.
    lab.apply("thawed", "{apiVersion: v1, kind: Pod, metadata: {name: new}, spec: {containers: [{name: c, image: 'docker.io/vial/toolbox:1', command: [sleep, infinity]}]}}");
    lab.await_pod("thawed", "new");

    let refused = lab.vial(["template", "rm", "moment"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("in use: thawed"), "{refused:?}");
    // What is shared stays with whoever has it.
    lab.vial(["template", "rm", "moment", "--force"]).ok();
    lab.vial(["check", "thawed"]).ok();
    lab.vial(["down", "parent", "thawed", "forked"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn a_stopped_cluster_goes_on_when_nothing_of_vial_is_left_in_memory() {
    let lab = Lab::up("asleep", &["--workers", "1"]);
    remember(&lab, "asleep", "kept");
    let uid = |name: &str| {
        let query = [
            "get",
            "pod",
            "-n",
            "kube-system",
            "-l",
            name,
            "-o",
            "jsonpath={.items[*].metadata.uid}",
        ];
        lab.kubectl("asleep", &query).ok()
    };
    let pods = uid("k8s-app=kube-dns");
    lab.vial(["stop", "asleep"]).ok();
    assert_eq!(lab.status("asleep")["phase"], "frozen");
    // As after the host has started anew.
    eventually("the keeper is gone", || {
        (!lab.run_dir().exists())
            .then_some(())
            .ok_or_else(|| "it is there".into())
    });
    let _ = fs::remove_dir_all(lab.run_dir());
    lab.assert_nothing_runs();

    lab.vial(["start", "asleep"]).ok();
    assert!(knows(&lab, "asleep", "kept"));
    assert_eq!(uid("k8s-app=kube-dns"), pods, "they are the same pods");
    lab.vial(["check", "asleep"]).ok();
    // Once taken up, it is not taken up again: what was written since is there after a crash.
    remember(&lab, "asleep", "later");
    kill(&lab.status("asleep")["sandboxPid"]);
    eventually("it is seen to have ended", || {
        let phase = lab.status("asleep")["phase"].clone();
        (phase == "stopped")
            .then_some(())
            .ok_or_else(|| phase.to_string())
    });
    lab.vial(["start", "asleep"]).ok();
    assert!(knows(&lab, "asleep", "later"));

    // Frozen, it may also start from its disks.
    lab.vial(["stop", "asleep"]).ok();
    lab.vial(["start", "asleep", "--cold"]).ok();
    assert!(knows(&lab, "asleep", "later"));
    lab.vial(["down", "asleep"]).ok();
    lab.assert_nothing_left();
}

/// How much processor time a process has had, in the kernel's ticks (proc_pid_stat(5)).
fn ticks(pid: &serde_json::Value) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<u64> = fields
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // utime and stime, less the state, which is no number, and the name.
    fields[10] + fields[11]
}

#[test]
fn a_paused_cluster_takes_no_time_and_stays_so_until_it_is_resumed() {
    let lab = Lab::up("paused", &["--workers", "0"]);
    let api = lab.pid_of("paused", "kube-apiserver");
    lab.vial(["pause", "paused"]).ok();
    assert_eq!(lab.status("paused")["phase"], "paused");
    for command in ["freeze paused", "node stop cp-1 -c paused"] {
        let refused = lab.vial(command.split(' '));
        assert_eq!(refused.code, 5, "{command}: {refused:?}");
        assert!(refused.stderr.contains("vial resume paused"), "{refused:?}");
    }
    let before = ticks(&api);
    kill(&lab.status("paused")["keeperPid"]);
    assert_eq!(
        lab.status("paused")["phase"],
        "paused",
        "another keeper leaves it so"
    );
    assert_eq!(ticks(&api), before);
    lab.vial(["resume", "paused"]).ok();
    lab.vial(["check", "paused"]).ok();
    assert!(ticks(&api) > before);
    // An `up` wants it to run.
    lab.vial(["pause", "paused"]).ok();
    lab.vial(["up", "paused"]).ok();
    assert_eq!(lab.status("paused")["phase"], "running");
    lab.vial(["pause", "paused"]).ok();
    lab.vial(["stop", "paused"]).ok();
    lab.vial(["start", "paused"]).ok();
    assert_eq!(lab.status("paused")["phase"], "running");
    lab.vial(["pause", "paused"]).ok();
    lab.vial(["down", "paused"]).ok();
    lab.assert_nothing_left();
}

/// How often; VIAL_TEST_ROUNDS asks for more.
fn rounds() -> usize {
    let asked = std::env::var("VIAL_TEST_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(3)
}

#[test]
fn no_write_that_was_acknowledged_is_lost_by_stops_and_freezes_at_any_moment() {
    let lab = Lab::new(&["written", "written-copy"]);
    let _template = Removed(&lab, "round");
    lab.vial(["up", "written", "--workers", "1"]).ok();
    // A rollout is always under way, and a pod comes and goes.
    lab.apply("written", "{apiVersion: apps/v1, kind: Deployment, metadata: {name: rolling}, spec: {replicas: 3, selector: {matchLabels: {app: rolling}}, template: {metadata: {labels: {app: rolling}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: 'docker.io/vial/toolbox:1', command: [sleep, infinity]}]}}}}");
    let mut acknowledged = Vec::new();
    for round in 0..rounds() {
        let ended = AtomicBool::new(false);
        let (lab, ended) = (&lab, &ended);
        let copied = std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut written = Vec::new();
                for number in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = format!("write-{round}-{number}");
                    let create = ["create", "configmap", &name, "--request-timeout=10s"];
                    if lab.kubectl("written", &create).code == 0 {
                        written.push(name);
                    }
                }
                written
            });
            lab.kubectl("written", &["rollout", "restart", "deployment/rolling"])
                .ok();
            lab.vial(["freeze", "written", "--as", "round", "--replace"])
                .ok();
            lab.vial(["stop", "written"]).ok();
            ended.store(true, Ordering::Relaxed);
            writer.join().expect("it ends")
        });
        acknowledged.extend(copied);
        lab.vial(["start", "written"]).ok();
        let there = lab
            .kubectl("written", &["get", "configmaps", "-o", "name"])
            .ok();
        let there: std::collections::BTreeSet<&str> = there.lines().collect();
        for name in &acknowledged {
            let name = format!("configmap/{name}");
            assert!(
                there.contains(name.as_str()),
                "{name} was acknowledged in round {round} at the latest"
            );
        }
    }
    assert!(!acknowledged.is_empty());
    let rolled = ["rollout", "status", "deployment/rolling", "--timeout=120s"];
    lab.kubectl("written", &rolled).ok();
    lab.vial(["check", "written"]).ok();
    // What was frozen in the middle of it all is a cluster that works.
    lab.vial(["thaw", "round", "written-copy"]).ok();
    lab.kubectl("written-copy", &rolled).ok();
    lab.vial(["check", "written-copy"]).ok();
}

#[test]
fn the_second_cluster_of_a_shape_goes_on_from_the_first() {
    let lab = Lab::new(&["first", "second", "own-keys", "cold"]).with_templates();
    let authority = |cluster: &str| lab.vial(["kubeconfig", cluster]).ok();
    let authority = |cluster: &str| {
        let text = authority(cluster);
        let mut lines = text
            .lines()
            .filter(|line| line.contains("certificate-authority-data"));
        lines.next().expect("an authority").to_owned()
    };
    let up = |words: &[&str]| lab.vial([&["up", "--workers", "0"], words].concat());
    for old in lab.vial(["template", "ls", "-o", "name"]).ok().lines() {
        lab.vial(["template", "rm", "--force", old]).ok();
    }
    let first = up(&["first"]);
    assert!(!first.stderr.contains("goes on from"), "{first:?}");
    first.ok();
    let made = lab.vial(["template", "ls", "-o", "name"]).ok();
    let _template = Removed(&lab, &made);
    assert!(made.starts_with("pristine-"), "{made}");
    remember(&lab, "first", "later");

    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: mine, namespace: default}}";
    let object = lab.file("object.yaml", manifest);
    let file = format!(
        "apiVersion: vial/v1\nkind: Cluster\nworkers: 0\nports: ['0:cp-1:22']\nmanifests: [{object}]\n"
    );
    let second = lab.vial(["up", "second", "-f", &lab.file("vial.yaml", &file)]);
    assert!(
        second
            .stderr
            .contains(&format!("goes on from template {made}")),
        "{second:?}"
    );
    second.ok();
    assert!(!knows(&lab, "second", "later") && knows(&lab, "second", "mine"));
    assert_eq!(
        lab.endpoints("second").len(),
        3,
        "API, registry and the port"
    );
    assert_eq!(authority("second"), authority("first"));
    lab.vial(["check", "second"]).ok();

    for (name, flag) in [("own-keys", "--fresh-keys"), ("cold", "--cold")] {
        let ran = up(&[name, flag]);
        assert!(!ran.stderr.contains("goes on from"), "{ran:?}");
        ran.ok();
        assert_ne!(authority(name), authority("first"), "{flag}");
        lab.vial(["down", name]).ok();
    }
    lab.vial(["down", "first", "second"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn what_cannot_be_frozen_or_thawed_is_told_and_changes_nothing() {
    let lab = Lab::new(&["here", "there"]);
    let _template = Removed(&lab, "good");
    let refused = |words: &str, code: i32, told: &str| {
        let ran = lab.vial(words.split(' '));
        assert_eq!(ran.code, code, "{words}: {ran:?}");
        assert!(ran.stderr.contains(told), "{words}: {ran:?}");
    };
    refused("thaw nothing here", 3, "no template \"nothing\"");
    refused("template rm nothing", 3, "no template");
    refused("freeze here", 3, "no cluster");
    refused("stop here", 3, "no cluster");
    lab.vial(["up", "here", "--workers", "0"]).ok();
    refused("freeze here --as No", 2, "cannot be the name of a template");
    lab.vial(["freeze", "here", "--as", "good"]).ok();
    refused(
        "freeze here --as good",
        5,
        "there is a template \"good\" already",
    );
    refused("thaw god there", 3, "did you mean \"good\"");
    refused("thaw good here", 5, "a cluster here already");
    refused("fork here here", 5, "a cluster here already");
    // Made by another build of vial.
    let manifest = lab.home().join("templates/good/template.json");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    value["ground"]["kernel"] = "1.2.3".into();
    fs::write(&manifest, value.to_string()).expect("written");
    refused("thaw good there", 5, "was made on another kernel: 1.2.3");
    assert!(!lab.cluster_dir("there").exists());
    lab.vial(["thaw", "good", "there", "--cold"]).ok();
    lab.vial(["check", "there"]).ok();
    // A freeze that is killed half-way leaves no template, and a cluster that runs.
    let mut freeze = lab
        .command(["freeze", "here", "--as", "half"])
        .spawn()
        .expect("it runs");
    kill(&lab.status("here")["keeperPid"]);
    let _ = freeze.wait();
    lab.vial(["check", "here"]).ok();
    let half = lab.vial(["template", "ls", "-o", "name"]).ok();
    if half.lines().any(|name| name == "half") {
        // It was quicker.
        lab.vial(["template", "rm", "half"]).ok();
    }
    lab.vial(["down", "here", "there"]).ok();
    lab.assert_nothing_left();
}
