//! The server in containers of all kinds: users, sudo, shells, the entry point.

use rustix::process::{Signal, kill_process};

use crate::container::{Container, Image};
use crate::lab::Server;

#[test]
fn an_image_s_own_sudo_lets_the_user_in() {
    let Some(server) = Container::of(Image::Writable).start("--user ann") else {
        return;
    };
    let version = server
        .ssh(&["-l", "ann", "box", "sudo -V; sudo -n id -un"])
        .text();
    assert!(version.contains("Sudoers policy plugin"), "{version}");
    assert!(version.ends_with("\nroot"), "{version}");
}

#[test]
fn a_user_is_made_and_becomes_root() {
    let container = Container::of(Image::Writable).without_sudo();
    let Some(server) = container.start("--user ann") else {
        return;
    };
    let ann = |command: &str| server.ssh(&["-l", "ann", "box", command]);
    assert_eq!(
        ann("id -un; id -gn; pwd; echo $HOME $SHELL").text(),
        "ann\nann\n/home/ann\n/home/ann /bin/bash"
    );
    assert_eq!(
        server.ssh(&["-l", "root", "box", "id -un; pwd"]).text(),
        "root\n/root"
    );
    assert_eq!(ann("sudo id -un").text(), "root");
    assert_eq!(
        ann("sudo -n -H -S -u root /bin/sh -c 'echo $HOME $SUDO_USER; exit 5'").code,
        Some(5)
    );
    assert_eq!(
        ann("sudo sh -c 'echo $HOME $SUDO_USER'").text(),
        "/root ann"
    );
    assert_eq!(ann("sudo -u nobody id -un").text(), "nobody");
    assert_eq!(ann("A=1 sudo B=2 sh -c 'echo $A-$B'").text(), "-2");
    assert_eq!(ann("A=1 sudo -E sh -c 'echo $A'").text(), "1");
    assert_eq!(ann("echo in | sudo cat").text(), "in");
    assert_eq!(ann("sudo sh -c 'kill -9 $$'").code, Some(137));
    assert!(
        ann("sudo no-such-thing")
            .failure()
            .contains("command not found")
    );
    // Root in a login shell, whose profile sets PATH anew.
    assert_eq!(
        server
            .ssh_with(b"sudo id -un\n", &["-T", "-l", "ann", "box"])
            .text(),
        "root"
    );
    // Somebody else of the image does not become root.
    let other = "sudo -u nobody env VIAL_SUDO_SOCKET=$VIAL_SUDO_SOCKET sudo id";
    assert!(ann(other).failure().contains("only the user of this pod"));
}

#[test]
fn sudo_has_a_terminal() {
    let container = Container::of(Image::Writable).without_sudo();
    let Some(server) = container.start("--user ann") else {
        return;
    };
    let command = "sudo sh -c 'tty; test -t 1 && echo terminal; id -un; echo >/dev/tty seen'";
    let ran = server.ssh(&["-tt", "-l", "ann", "box", command]);
    let text = ran.text();
    for part in ["/dev/pts/", "terminal", "root", "seen"] {
        assert!(text.contains(part), "{text}");
    }
    let shell = server.ssh_with(
        b"echo $((6*7)); exit 9\n",
        &["-tt", "-l", "ann", "box", "sudo -i"],
    );
    let output = String::from_utf8_lossy(&shell.stdout).into_owned();
    assert!(output.contains("42"), "{output}");
    assert_eq!(shell.code, Some(9));
}

#[test]
fn sudo_needs_no_privilege_that_pods_may_not_have() {
    let container = Container::of(Image::Writable).no_new_privileges();
    let Some(server) = container.start("--user ann") else {
        return;
    };
    let status = "sudo grep NoNewPrivs /proc/self/status; sudo id -un";
    let text = server.ssh(&["-l", "ann", "box", status]).text();
    assert_eq!(text, "NoNewPrivs:\t1\nroot");
}

#[test]
fn a_read_only_image_is_left_alone() {
    let Some(server) = Container::of(Image::ReadOnly).start("--user ann") else {
        return;
    };
    let ran = server.ssh(&["-l", "ann", "box", "id -u; echo $USER; pwd; touch /x"]);
    assert!(
        ran.failure().contains("Read-only file system"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, b"1000\nann\n/\n");
    assert_eq!(
        server
            .ssh(&["box", "id -u; sudo -V >/dev/null; ls / | wc -l"])
            .code,
        Some(0)
    );
}

#[test]
fn an_image_with_nothing_has_a_shell() {
    let Some(server) = Container::of(Image::Scratch).start("--user ann") else {
        return;
    };
    assert_eq!(
        server
            .ssh(&["box", "echo $0; ls /vial/keys | wc -l"])
            .text(),
        "sh\n2"
    );
    let login = server.ssh_with(b"echo $0; exec env ls -d /vial\n", &["-T", "box"]);
    assert_eq!(login.text(), "-sh\n/vial");
    assert_eq!(
        server
            .ssh(&["-l", "ann", "box", "id -un; pwd; sudo id -u"])
            .text(),
        "ann\n/home/ann\n0"
    );
    let ran = server.run_client(
        "scp",
        &[
            "-s",
            "box:/vial/keys/authorized_keys",
            &server.path("got").display().to_string(),
        ],
    );
    ran.text();
    assert!(server.path("got").exists());
}

#[test]
fn who_is_not_root_serves_itself() {
    let container = Container::of(Image::ReadOnly).user("4242:4242");
    let Some(server) = container.start("--user ann") else {
        return;
    };
    assert_eq!(
        server
            .ssh(&["-l", "ann", "box", "id -u; echo $USER"])
            .text(),
        "4242\nann"
    );
    server.ssh(&["-l", "root", "box", "id"]).failure();
    let said = server.ssh(&["-l", "ann", "box", "/vial/bin/busybox true; sudo id"]);
    said.failure();
    let pty = server.ssh(&["-tt", "-l", "ann", "box", "tty"]);
    assert!(pty.text().contains("/dev/pts/"), "{}", pty.stderr);
}

fn entry(script: &str) -> Option<Server> {
    Container::of(Image::Writable).start(&format!("-- sh -c '{script}'"))
}

#[test]
fn the_entry_point_runs_beside_and_its_end_is_the_end() {
    let Some(server) =
        entry("echo $$ > /tmp/pid; while ! test -e /tmp/end; do sleep 0.05; done; exit 7")
    else {
        return;
    };
    assert_eq!(server.ssh(&["box", "cat /proc/1/comm"]).text(), "vial-sshd");
    // Orphans are reaped: none of what a session leaves is a zombie for long.
    server
        .ssh(&["box", "for i in 1 2 3; do (sh -c true &) ; done"])
        .text();
    let zombies =
        "while grep -l '^State:.Z' /proc/[0-9]*/status >/dev/null 2>&1; do sleep 0.05; done";
    server.ssh(&["box", zombies]).text();
    server.ssh(&["box", "touch /tmp/end"]);
    server.line("ending with code 7");
    assert_eq!(server.end(Signal::CONT), Some(7));
}

#[test]
fn the_entry_point_is_told_to_end() {
    let Some(server) =
        entry("trap \"exit 3\" TERM; touch /tmp/ready; while :; do sleep 0.05; done")
    else {
        return;
    };
    server
        .ssh(&["box", "while ! test -e /tmp/ready; do sleep 0.05; done"])
        .text();
    kill_process(server.first_process().unwrap(), Signal::TERM).unwrap();
    server.line("ending with code 3");
    assert_eq!(server.end(Signal::CONT), Some(3));
}
