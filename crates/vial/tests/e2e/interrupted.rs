//! Cut anywhere, a later command completes.

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, eventually};

fn start(lab: &Lab, args: &[&str]) -> Child {
    lab.command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("vial runs")
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid");
    // It may have ended by itself.
    let _ = kill_process(pid, signal);
}

#[test]
fn an_interrupted_up_is_completed_by_the_next() {
    let lab = Lab::new(&["cut"]);
    // Different moments of an up; which step each hits does not matter, that none of them hurts does.
    for millis in [50, 400, 1500, 3000] {
        let mut child = start(&lab, &["up", "cut", "--workers", "1"]);
        std::thread::sleep(Duration::from_millis(millis));
        signal(
            &child,
            if millis % 100 == 0 {
                Signal::INT
            } else {
                Signal::KILL
            },
        );
        child.wait().expect("it ends");
        if millis == 1500 {
            // The keeper too, and with it the whole operation.
            if let Some(pid) =
                lab.vial(["status", "cut", "-o", "json"]).json()["keeperPid"].as_i64()
            {
                let pid = i32::try_from(pid)
                    .ok()
                    .and_then(Pid::from_raw)
                    .expect("a pid");
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
    lab.vial(["up", "cut", "--workers", "1"]).ok();
    lab.vial(["check", "cut"]).ok();
    lab.vial(["down", "cut"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn down_during_up_removes_everything() {
    let lab = Lab::new(&["torn"]);
    for millis in [0, 600, 2400] {
        let mut child = start(&lab, &["up", "torn", "--workers", "1"]);
        // Before, there is nothing that could be removed.
        eventually("the cluster is begun", || {
            let begun = lab.cluster_dir("torn").exists();
            begun.then_some(()).ok_or_else(String::new)
        });
        std::thread::sleep(Duration::from_millis(millis));
        lab.vial(["down", "torn"]).ok();
        let up = child.wait_with_output_of();
        assert!(!up.0, "an up that was torn down has failed: {}", up.1);
        lab.vial(["down", "torn"]);
        lab.assert_nothing_left();
    }
}

trait WaitOutput {
    fn wait_with_output_of(&mut self) -> (bool, String);
}

impl WaitOutput for Child {
    fn wait_with_output_of(&mut self) -> (bool, String) {
        use std::io::Read as _;
        let mut text = String::new();
        if let Some(stderr) = self.stderr.as_mut() {
            let _ = stderr.read_to_string(&mut text);
        }
        (self.wait().is_ok_and(|status| status.success()), text)
    }
}

#[test]
fn an_up_of_something_else_is_refused_while_one_is_at_work() {
    let lab = Lab::new(&["busy"]);
    let mut first = start(&lab, &["up", "busy", "--workers", "1"]);
    eventually("the first is at work", || {
        let ran = lab.vial(["ls", "-o", "json"]);
        match ran.stdout.contains("\"creating\"") {
            true => Ok(()),
            false => Err(format!("{ran:?}")),
        }
    });
    let second = lab.vial(["up", "busy", "--workers", "2"]);
    assert_eq!(second.code, 5, "{second:?}");
    assert!(second.stderr.contains("at work"), "{second:?}");
    let first = first.wait_with_output_of();
    assert!(first.0, "{}", first.1);
    assert_eq!(
        lab.vial(["ls", "-o", "json"]).json()[0]["nodes"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
}

#[test]
fn an_up_during_a_down_is_refused_and_a_later_one_completes() {
    let lab = Lab::up("going", &["--workers", "0"]);
    let mut down = start(&lab, &["down", "going"]);
    let refused = eventually("the down is at work", || {
        let ran = lab.vial(["up", "going", "--workers", "0"]);
        match ran.code {
            5 => Ok(ran),
            _ => Err(format!("{ran:?}")),
        }
    });
    assert!(refused.stderr.contains("is being removed"), "{refused:?}");
    assert!(down.wait_with_output_of().0);
    lab.vial(["up", "going", "--workers", "0"]).ok();
}

#[test]
fn what_a_cut_down_left_gets_into_no_later_cluster() {
    let lab = Lab::up("rest", &["--workers", "0"]);
    lab.kubectl("rest", &["create", "namespace", "old"]).ok();
    let uid = lab.status("rest")["uid"].clone();
    // As a removal leaves it that is killed after its first step.
    let record = lab.cluster_dir("rest").join("cluster.json");
    let text = std::fs::read_to_string(&record).expect("a record");
    let keeper = lab.status("rest")["keeperPid"].as_i64().expect("a pid");
    crate::lab::signal(keeper, Signal::KILL);
    std::fs::write(&record, text.replace("\"up\"", "\"deleting\"")).expect("written");

    lab.vial(["up", "rest", "--workers", "0"]).ok();
    assert_ne!(lab.status("rest")["uid"], uid);
    assert_ne!(lab.kubectl("rest", &["get", "namespace", "old"]).code, 0);
}

#[test]
fn two_ups_of_one_name_make_one_cluster() {
    let lab = Lab::new(&["twice"]);
    let mut first = start(&lab, &["up", "twice", "--workers", "1"]);
    let mut second = start(&lab, &["up", "twice", "--workers", "1"]);
    let (one, two) = (first.wait_with_output_of(), second.wait_with_output_of());
    assert!(one.0 && two.0, "{}\n{}", one.1, two.1);
    assert_eq!(lab.vial(["ls", "-o", "name"]).ok(), "twice");
    lab.vial(["check", "twice"]).ok();
}
