//! The registry of a cluster: one reference for host and nodes, what a push that dies leaves, what deleting frees.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;

use crate::crane::{crane, run_crane, toolbox};
use crate::lab::{Lab, eventually, kill};

/// `127.0.0.1:PORT`
fn host_of(lab: &Lab, cluster: &str) -> String {
    lab.vial(["registry", "-c", cluster, "-o", "name"]).ok()
}

#[track_caller]
fn runs(lab: &Lab, cluster: &str, pod: &str, image: &str) {
    lab.apply(
        cluster,
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\nspec: {{containers: [{{name: c, image: \"{image}\", imagePullPolicy: Always, command: [sleep, infinity]}}]}}\n"
        ),
    );
    lab.await_pod(cluster, pod);
}

/// No part of a blob that was never whole is shown.
#[track_caller]
fn assert_not_there(host: &str, digest: &str) {
    let blob = format!("{host}/half@{digest}");
    let asked = Command::new(crane()).args(["blob", &blob]).output();
    let asked = asked.expect("crane");
    let stderr = String::from_utf8_lossy(&asked.stderr);
    assert!(
        !asked.status.success() && stderr.contains("unknown"),
        "{stderr}"
    );
}

/// Uploads that are not finished, in the registry's files.
fn uploads(lab: &Lab, cluster: &str) -> usize {
    let data = lab.cluster_dir(cluster).join("registry/data");
    let uploads = data.join("docker/registry/v2/repositories/half/_uploads");
    std::fs::read_dir(uploads).map_or(0, Iterator::count)
}

fn one_reference_works_everywhere(name: &str, flags: &[&str]) {
    let lab = Lab::up(name, &[&["--workers", "1"], flags].concat());
    let host = host_of(&lab, name);
    let image = format!("{host}/team/app:v1");
    run_crane(&["push", &toolbox(&lab, name), &image]);
    let digest = run_crane(&["digest", &image]);

    // In pods by the name that was pushed to, by the inner one, and by digest.
    runs(&lab, name, "by-host-name", &image);
    runs(
        &lab,
        name,
        "by-inner-name",
        "registry.vial:5000/team/app:v1",
    );
    runs(
        &lab,
        name,
        "by-digest",
        &format!("registry.vial:5000/team/app@{digest}"),
    );

    // For programs on nodes and in pods.
    for node in ["cp-1", "w-1"] {
        for address in ["registry.vial:5000", &host] {
            let url = format!("http://{address}/v2/team/app/tags/list");
            let tags = lab.exec(name, node, &["curl", "-sS", "--max-time", "5", &url]);
            assert_eq!(tags.json()["tags"][0], "v1", "{node} {address}");
        }
    }
    let url = "http://registry.vial:5000/v2/team/app/tags/list";
    let curl = [
        "exec",
        "by-digest",
        "--",
        "curl",
        "-sS",
        "--max-time",
        "5",
        url,
    ];
    assert_eq!(lab.kubectl(name, &curl).json()["tags"][0], "v1");

    lab.vial(["down", name]).ok();
    lab.assert_nothing_left();
}

#[test]
fn one_reference_works_on_the_host_on_nodes_and_in_pods() {
    one_reference_works_everywhere("reg-dual", &[]);
}

#[test]
fn one_reference_works_in_an_ipv6_cluster() {
    one_reference_works_everywhere("reg-v6", &["--ip-family", "ipv6"]);
}

#[test]
fn images_live_as_long_as_the_cluster_and_deleted_ones_free_their_space() {
    let lab = Lab::up("reg-life", &["--workers", "1"]);
    let host = host_of(&lab, "reg-life");
    let image = format!("{host}/app:v1");
    run_crane(&["push", &toolbox(&lab, "reg-life"), &image]);

    // Over a stop and a start, under the same name.
    kill(&lab.status("reg-life")["sandboxPid"]);
    eventually("the cluster stops", || {
        let phase = lab.status("reg-life")["phase"].clone();
        if phase == "stopped" {
            Ok(())
        } else {
            Err(phase.to_string())
        }
    });
    lab.vial(["up", "reg-life"]).ok();
    assert_eq!(host_of(&lab, "reg-life"), host);
    let digest = run_crane(&["digest", &image]);

    let used = || {
        let shown = lab
            .vial(["registry", "-c", "reg-life", "-o", "json"])
            .json();
        assert_eq!(shown["state"], "ready", "{shown}");
        shown["usedBytes"].as_u64().expect("a number")
    };
    let before = used();
    assert!(before > 1_000_000, "{before}");
    lab.vial(["registry", "gc", "-c", "reg-life"]).ok();
    assert_eq!(
        run_crane(&["digest", &image]),
        digest,
        "what is in use stays"
    );
    run_crane(&["delete", &format!("{host}/app@{digest}")]);
    let gc = lab.vial(["registry", "gc", "-c", "reg-life"]);
    assert!(gc.stderr.contains("MB freed"), "{}", gc.stderr);
    assert!(used() < before / 10, "{} of {before}", used());
}

#[test]
fn a_push_that_dies_half_way_leaves_nothing_and_the_next_one_works() {
    let lab = Lab::up("reg-dies", &["--workers", "1"]);
    let host = host_of(&lab, "reg-dies");
    let toolbox = toolbox(&lab, "reg-dies");
    let digest = format!("sha256:{}", "0".repeat(64));

    // The client dies in the middle of a blob.
    let upload = |port: &str| {
        let mut stream = TcpStream::connect(&host).expect("the registry");
        let head = format!(
            "POST /v2/half/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: {port}\r\nContent-Length: 1000000\r\nContent-Type: application/octet-stream\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("written");
        stream.write_all(&[7; 100_000]).expect("written");
        stream
    };
    drop(upload(&host));
    assert_not_there(&host, &digest);
    run_crane(&["push", &toolbox, &format!("{host}/half:client")]);

    // The keeper dies, which carries the connection; the next command starts another.
    let open = upload(&host);
    kill(&lab.status("reg-dies")["keeperPid"]);
    drop(open);
    assert_eq!(host_of(&lab, "reg-dies"), host);
    assert_not_there(&host, &digest);
    run_crane(&["push", &toolbox, &format!("{host}/half:keeper")]);

    // The registry dies, and is started again.
    let open = upload(&host);
    eventually("the upload has begun", || match uploads(&lab, "reg-dies") {
        0 => Err("none".into()),
        _ => Ok(()),
    });
    kill(&lab.pid_of("reg-dies", "registry"));
    drop(open);
    eventually("the registry is back", || {
        let shown = lab
            .vial(["registry", "-c", "reg-dies", "-o", "json"])
            .json();
        (shown["state"] == "ready")
            .then_some(())
            .ok_or_else(|| shown.to_string())
    });
    assert_eq!(uploads(&lab, "reg-dies"), 0, "left by the dead registry");
    assert_not_there(&host, &digest);
    run_crane(&["push", &toolbox, &format!("{host}/half:registry")]);
}
