//! Keepers that hang, records that are damaged, nodes that fall: it is told, and a command goes on.

use std::fs;

use rustix::process::Signal;

use crate::lab::{Lab, eventually, signal};

#[test]
fn a_keeper_that_hangs_is_told_and_down_goes_on_without_it() {
    let lab = Lab::up("hung", &["--workers", "0"]);
    let keeper = lab.status("hung")["keeperPid"].as_i64().expect("a pid");
    signal(keeper, Signal::STOP);

    for command in [["status", "hung"], ["check", "hung"], ["up", "hung"]] {
        let ran = lab.vial(command);
        assert_eq!(ran.code, 7, "{command:?}: {ran:?}");
        let named = format!("(pid {keeper})");
        assert!(ran.stderr.contains(&named), "{command:?}: {ran:?}");
        assert!(
            ran.stderr.contains("vial down hung"),
            "{command:?}: {ran:?}"
        );
    }
    let listed = lab.vial(["ls", "-o", "json"]).json();
    assert_eq!(listed[0]["phase"], "unknown", "{listed}");

    let ran = lab.vial(["down", "hung"]);
    assert!(ran.stderr.contains("it is ended"), "{ran:?}");
    ran.ok();
    lab.assert_nothing_left();
}

#[test]
fn a_keeper_of_another_run_directory_is_left_alone() {
    let lab = Lab::up("elsewhere", &["--workers", "0"]);
    let other = lab.dir().join("run");
    for command in ["down", "status"] {
        let mut command = lab.command([command, "elsewhere"]);
        let output = command.env("VIAL_RUN", &other).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{told}");
        assert!(told.contains("VIAL_RUN"), "{told}");
    }
    lab.vial(["check", "elsewhere"]).ok();
}

#[test]
fn a_cluster_with_a_damaged_record_is_listed_and_can_be_removed() {
    let lab = Lab::up("torn", &["--workers", "0"]);
    fs::write(lab.cluster_dir("torn").join("cluster.json"), "{").expect("written");
    let listed = || lab.vial(["ls", "-o", "json"]).json()[0].clone();
    assert_eq!(
        (&listed()["name"], &listed()["phase"]),
        (&"torn".into(), &"damaged".into())
    );
    for command in ["status", "up"] {
        let ran = lab.vial([command, "torn"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("cluster.json is damaged"), "{ran:?}");
        assert!(ran.stderr.contains("vial down"), "{ran:?}");
    }
    // Also when the keeper that had read it is gone: a new one must not lose the sandbox out of sight.
    let lock = fs::read(lab.cluster_dir("torn").with_extension("lock")).expect("a lock");
    let lock: serde_json::Value = serde_json::from_slice(&lock).expect("a signature");
    signal(lock["pid"].as_i64().expect("a pid"), Signal::KILL);
    let after = listed();
    assert_eq!(after["phase"], "damaged", "{after}");
    lab.vial(["down", "torn"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn a_container_that_ends_during_another_operation_comes_back() {
    let lab = Lab::up("fallen", &["--workers", "1"]);
    let changed = lab.file(
        "changed.yaml",
        "apiVersion: vial/v1\nkind: Cluster\nworkers: 2\n",
    );
    let mut up = lab.command(["up", "fallen", "-f", &changed]);
    let mut up = up.spawn().expect("vial runs");
    eventually("the operation is at work", || {
        match lab.status("fallen")["phase"].as_str() {
            Some("creating") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    signal(lab.agent_pid("fallen", "w-1.node"), Signal::KILL);
    // It may notice or not.
    up.wait().expect("it ends");
    eventually("the node is back", || {
        let ran = lab.exec("fallen", "w-1", &["true"]);
        let phase = lab.status("fallen")["phase"].clone();
        match ran.code {
            0 if phase == "running" => Ok(()),
            _ => Err(format!("{phase}: {ran:?}")),
        }
    });
}

#[test]
fn what_cannot_be_brought_back_is_told_and_tried_again() {
    let lab = Lab::up("again", &["--workers", "1"]);
    // A disk that cannot be mounted: its upper directory is a file.
    let upper = lab.cluster_dir("again").join("nodes/w-1/root/upper");
    let aside = upper.with_extension("aside");
    fs::rename(&upper, &aside).expect("it is there");
    fs::write(&upper, "").expect("written");
    signal(lab.agent_pid("again", "w-1.node"), Signal::KILL);
    let told = eventually("the failure is told", || {
        let status = lab.status("again");
        let message = status["message"].as_str().unwrap_or_default().to_owned();
        match message.contains("attempt 2 to bring it back failed") {
            true => Ok(message),
            false => Err(status.to_string()),
        }
    });
    assert!(told.contains("w-1.node (exit code 137)"), "{told}");

    fs::remove_file(&upper).expect("it is there");
    fs::rename(&aside, &upper).expect("it is there");
    eventually("the node is back", || {
        let status = lab.status("again");
        match status["phase"] == "running" && status["message"].is_null() {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
}
