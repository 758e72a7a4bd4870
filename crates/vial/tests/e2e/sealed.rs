//! Sealed: what dies, dies whole; what is served comes back; no network is needed.

use std::fs;

use crate::lab::{Host, Lab, eventually, kill};

#[test]
fn killing_the_first_process_leaves_nothing_running_and_up_starts_again_from_the_disks() {
    let lab = Lab::up("killed", &["--workers", "1"]);
    lab.kubectl(
        "killed",
        &["create", "configmap", "kept", "--from-literal=a=b"],
    )
    .ok();
    kill(&lab.status("killed")["sandboxPid"]);
    // Its keeper sweeps and ends.
    eventually("the keeper sweeps", || {
        (!lab.run_dir().exists())
            .then_some(())
            .ok_or_else(|| "the run directory is there".into())
    });
    lab.assert_nothing_runs();
    lab.before().assert_same(&Host::look());
    assert_eq!(lab.status("killed")["phase"], "stopped");

    lab.vial(["up", "killed"]).ok();
    assert_eq!(
        lab.kubectl(
            "killed",
            &["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]
        )
        .ok(),
        "b"
    );
}

#[test]
fn killing_the_keeper_too_leaves_the_sweeping_to_the_next_command() {
    let lab = Lab::up("orphan", &["--workers", "1"]);
    let status = lab.status("orphan");
    kill(&status["keeperPid"]);
    kill(&status["sandboxPid"]);
    // Dying takes the kernel a moment; then a command that looks finds what is left and sweeps it.
    eventually("ls sweeps", || {
        let ls = lab.vial(["ls"]).ok();
        if ls.contains("stopped") && !lab.run_dir().exists() {
            Ok(())
        } else {
            Err(ls)
        }
    });
    lab.assert_nothing_runs();
    lab.vial(["down", "orphan"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn the_cluster_goes_on_without_its_keeper() {
    let lab = Lab::up("keeperless", &["--workers", "1"]);
    lab.apply("keeperless", "apiVersion: v1\nkind: Pod\nmetadata: {name: busy}\nspec:\n  containers: [{name: c, image: vial/toolbox, imagePullPolicy: IfNotPresent, command: [sleep, infinity]}]\n");
    lab.await_pod("keeperless", "busy");
    let before = lab.status("keeperless");
    let started = "jsonpath={.status.containerStatuses[0].state.running.startedAt} {.status.containerStatuses[0].restartCount}";
    let pod = lab
        .kubectl("keeperless", &["get", "pod", "busy", "-o", started])
        .ok();
    let kubeconfig = lab.kubeconfig();

    kill(&before["keeperPid"]);
    // Inside, the API answers while nobody keeps.
    let inside = std::process::Command::new("nsenter")
        .args([
            "-t",
            &before["sandboxPid"].to_string(),
            "-n",
            "curl",
            "-sk",
            "https://10.89.0.11:6443/livez",
        ])
        .output();
    if let Ok(output) = inside {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok");
    }

    let after = lab.status("keeperless");
    assert_eq!(after["api"], before["api"], "the same port");
    assert_ne!(after["keeperPid"], before["keeperPid"]);
    assert_eq!(after["sandboxPid"], before["sandboxPid"]);
    assert_eq!(
        lab.kubectl("keeperless", &["get", "pod", "busy", "-o", started])
            .ok(),
        pod
    );
    // The kubeconfig of before works as it is.
    assert!(
        fs::read_to_string(kubeconfig)
            .expect("merged")
            .contains(before["api"].as_str().expect("an address"))
    );
    lab.vial(["check", "keeperless"]).ok();
}

#[test]
fn up_needs_no_network_at_all() {
    let lab = Lab::new(&["offline"]);
    // A network namespace with nothing but loopback, made by this test and gone with its last process.
    let script = "ip link set lo up 2>/dev/null || exit 42; \"$0\" up offline --workers 1 && \"$0\" check offline && ! ip route | grep . && \"$0\" down offline";
    let mut command = std::process::Command::new("unshare");
    let mirror = lab.command(["version"]);
    command.args(["--net", "sh", "-c", script, env!("CARGO_BIN_EXE_vial")]);
    for (key, value) in mirror.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    let output = command.output().expect("unshare(1) is part of every Linux");
    if output.status.code() == Some(42) {
        return vial_testing::skip("ip(8) is missing");
    }
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    lab.assert_nothing_left();
}
