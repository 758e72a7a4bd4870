//! The server as pods get it: put into a volume, in the background of somebody else's entry point, for a limited time;
//! and whether neighbours answer.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::container::{Container, Image, busybox};
use crate::lab::{Ran, Server, lacks};

fn vial_sshd(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vial-sshd"));
    Ran::of(command.args(arguments).output().unwrap())
}

/// A time so far from now, as RFC 3339 writes it.
fn after(seconds: u64) -> String {
    let then = SystemTime::now() + Duration::from_secs(seconds);
    let since = then.duration_since(UNIX_EPOCH).unwrap().as_secs();
    jiff::Timestamp::from_second(since.cast_signed())
        .unwrap()
        .to_string()
}

#[test]
fn a_server_in_the_background_lets_its_caller_go() {
    let container = Container::of(Image::Writable)
        .without_sudo()
        .beside_an_entry_point();
    let Some(server) = container.start("--user ann") else {
        return;
    };
    server.line("hook: 0");
    let ssh = |command: &str| server.ssh(&["-l", "ann", "box", command]);
    assert_eq!(ssh("cat /proc/1/comm").text(), "busybox");
    assert_eq!(ssh("sudo id -un").text(), "root");
    assert_eq!(ssh("sudo wc -c </tmp/hook").text(), "0");
    // Its log is the container's.
    server.line("login of ann");
    // Nothing of the caller is held.
    let files = "sudo sh -c 'cd /proc/$(pidof vial-sshd)/fd; readlink 0; ls | wc -l'";
    assert!(ssh(files).text().starts_with("/dev/null\n"));
    // Once more does nothing, and is no error.
    let again = ssh("sudo /vial/bin/vial-sshd --listen 127.0.0.1 --port 0 --user ann --detach");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        again.stderr.contains("serves here already"),
        "{}",
        again.stderr
    );
    assert_eq!(ssh("pidof vial-sshd | wc -w").text(), "1");
}

#[test]
fn what_sessions_leave_behind_is_no_burden_for_the_entry_point() {
    let container = Container::of(Image::Writable).beside_an_entry_point();
    let Some(server) = container.start("") else {
        return;
    };
    // An orphan's parent is the server, which reaps it.
    let orphan = "(sleep 1000 >/dev/null 2>&1 & echo $!) | cat";
    let pid = server.ssh(&["box", orphan]).text();
    let parent = format!(
        "while read -r key value; do test $key = PPid: && cat /proc/$value/comm; done </proc/{pid}/status; kill {pid}"
    );
    assert_eq!(server.ssh(&["box", &parent]).text(), "vial-sshd");
    let zombies =
        "while grep -l '^State:.Z' /proc/[0-9]*/status >/dev/null 2>&1; do sleep 0.05; done";
    server.ssh(&["box", zombies]).text();
}

#[test]
fn what_keeps_it_from_serving_is_said_to_the_caller() {
    if lacks(&["ssh-keygen"]) {
        return;
    }
    let wrong = vial_sshd(&["--detach", "--host-key", "/no/such/key", "--port", "1"]);
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong
            .stderr
            .contains("cannot read the host key /no/such/key"),
        "{}",
        wrong.stderr
    );
    let both = vial_sshd(&["--detach", "--", "sh"]);
    assert_eq!(both.code, Some(2));
    // A port that somebody else has is no server that serves already.
    let directory = crate::lab::prepare();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let keys = directory.path().display().to_string();
    let refused = vial_sshd(&[
        "--detach",
        "--host-key",
        &keys,
        "--listen",
        "127.0.0.1",
        "--port",
        &port,
    ]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("cannot listen on 127.0.0.1"),
        "{}",
        refused.stderr
    );
}

#[test]
fn an_image_with_nothing_is_served_beside_its_entry_point_too() {
    let container = Container::of(Image::Scratch)
        .user("4242:4242")
        .beside_an_entry_point();
    let Some(server) = container.start("--user ann") else {
        return;
    };
    let ran = server.ssh(&["-l", "ann", "box", "/vial/bin/busybox id -u"]);
    assert_eq!(ran.text(), "4242");
}

#[test]
fn a_volume_is_filled_for_pods() {
    let Some(busybox) = busybox() else { return };
    let image = tempfile::tempdir().unwrap();
    let program = image.path().join("vial-sshd");
    std::fs::copy(env!("CARGO_BIN_EXE_vial-sshd"), &program).unwrap();
    std::fs::copy(busybox, image.path().join("busybox")).unwrap();
    let volume = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut install = Command::new(&program);
        let ran = Ran::of(install.arg("install").arg(volume.path()).output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    let applet = Command::new(volume.path().join("applets/sh"))
        .args(["-c", "echo it runs"])
        .output();
    assert_eq!(Ran::of(applet.unwrap()).text(), "it runs");
    let sudo = Command::new(volume.path().join("sudo")).arg("-V").output();
    assert_eq!(Ran::of(sudo.unwrap()).code, Some(0));
    let version = Command::new(volume.path().join("vial-sshd"))
        .arg("--version")
        .output();
    assert!(Ran::of(version.unwrap()).text().starts_with("vial-sshd "));
}

#[test]
fn a_volume_that_cannot_be_written_is_named() {
    let ran = vial_sshd(&["install", "/proc/vial"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("cannot make the directory /proc/vial"),
        "{}",
        ran.stderr
    );
}

#[test]
fn people_at_terminals_hear_when_their_pod_goes() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let soon = Server::start(&["--expires", &after(30 * 60)]);
    let shown = soon.ssh(&["-tt", "box", "echo begun"]);
    let seen = String::from_utf8_lossy(&shown.stdout).into_owned() + &shown.stderr;
    assert!(
        seen.contains("this pod is removed in 30 minutes") && seen.contains("begun"),
        "{seen}"
    );
    // A program's output is its own.
    let plain = soon.ssh(&["box", "echo begun"]);
    assert_eq!(
        (plain.text().as_str(), plain.stderr.as_str()),
        ("begun", "")
    );
    // Those that are logged in when the time comes are told, too.
    let later = Server::start(&["--expires", &after(10 * 60 + 3)]);
    let command = "echo begun; sleep 1000";
    let mut session = later
        .client("ssh")
        .args(["-tt", "box", command])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(session.stderr.take().unwrap());
    let told = std::io::BufRead::lines(lines)
        .map_while(Result::ok)
        .find(|line| line.contains("this pod is removed in 10 minutes"));
    session.kill().unwrap();
    session.wait().unwrap();
    assert!(told.is_some());
}

/// The fields of a line of JSON.
fn fields(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn neighbours_answer_or_do_not() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let shut = closed.local_addr().unwrap().port();
    drop(closed);
    let targets = [
        format!("tcp:localhost:{open}"),
        format!("tcp:127.0.0.1:{shut}"),
        "tcp:no-such-name.invalid:80".to_owned(),
    ];
    let ran = vial_sshd(&[
        "ping",
        "--count",
        "2",
        "--timeout",
        "5000",
        "--json",
        &targets[0],
        &targets[1],
        &targets[2],
    ]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let text = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(fields).collect();
    let order: Vec<_> = lines.iter().map(|line| &line["target"]).collect();
    assert_eq!(order, targets.iter().collect::<Vec<_>>());
    assert_eq!(
        (&lines[0]["sent"], &lines[0]["received"]),
        (&2.into(), &2.into())
    );
    assert!(lines[0]["min_us"].as_u64() <= lines[0]["max_us"].as_u64());
    assert!(lines[0]["error"].is_null());
    let said = |line: &serde_json::Value| line["error"].as_str().unwrap().to_owned();
    assert!(said(&lines[1]).contains("refused"), "{text}");
    assert!(said(&lines[2]).contains("no-such-name"), "{text}");
    let wrong = vial_sshd(&["ping", "udp:web:1"]);
    assert_eq!(wrong.code, Some(2));
}

/// In a network namespace of its own, with its loopback up, as somebody.
fn in_network(script: &str) -> Option<Ran> {
    if lacks(&["unshare", "setpriv", "ip"]) {
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        vial_testing::skip("only root can make a network namespace");
        return None;
    }
    let mut command = Command::new("unshare");
    let script = format!("set -e; ip link set lo up; {script}");
    command
        .args(["--net", "--mount", "sh", "-c", &script])
        .env("SSHD", env!("CARGO_BIN_EXE_vial-sshd"));
    Some(Ran::of(command.output().unwrap()))
}

#[test]
fn echoes_go_by_whatever_socket_is_permitted() {
    let ping = "ping --count 2 --json icmp:127.0.0.1 icmp:::1";
    for (script, how) in [
        // The sockets made for it, open to every group.
        (
            format!(
                "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range; \
                 setpriv --reuid 4242 --regid 4242 --clear-groups $SSHD {ping}"
            ),
            "icmp",
        ),
        // No group, but the capability.
        (
            format!("echo 1 0 >/proc/sys/net/ipv4/ping_group_range; $SSHD {ping}"),
            "icmp",
        ),
        // Neither: nothing listens at port 22 here.
        (
            format!(
                "echo 1 0 >/proc/sys/net/ipv4/ping_group_range; \
                 setpriv --bounding-set -all --inh-caps -all --reuid 4242 --regid 4242 --clear-groups $SSHD {ping} || true"
            ),
            "tcp",
        ),
    ] {
        let Some(ran) = in_network(&script) else {
            return;
        };
        let text = ran.text();
        let lines: Vec<_> = text.lines().map(fields).collect();
        assert_eq!(lines.len(), 2, "{script}: {text} {}", ran.stderr);
        for line in lines {
            assert_eq!(line["how"], how, "{script}: {text}");
            let answered = if how == "icmp" { 2 } else { 0 };
            assert_eq!(line["received"], answered, "{script}: {text}");
        }
    }
}
