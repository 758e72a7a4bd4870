//! Cut anywhere, a later command completes.

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;

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
    for millis in [100, 700, 2500] {
        let mut child = start(&lab, &["up", "torn", "--workers", "1"]);
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
fn two_ups_of_one_name_make_one_cluster() {
    let lab = Lab::new(&["twice"]);
    let mut first = start(&lab, &["up", "twice", "--workers", "1"]);
    let mut second = start(&lab, &["up", "twice", "--workers", "1"]);
    let (one, two) = (first.wait_with_output_of(), second.wait_with_output_of());
    assert!(one.0 && two.0, "{}\n{}", one.1, two.1);
    assert_eq!(lab.vial(["ls", "-o", "name"]).ok(), "twice");
    lab.vial(["check", "twice"]).ok();
}
