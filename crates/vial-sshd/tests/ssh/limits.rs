//! Floods, nonsense, wrong arguments, and the end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;

use crate::lab::{Server, keygen, lacks, prepare};

#[test]
fn a_megabyte_of_nonsense_leaves_it_alive() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let nonsense: Vec<u8> = (0..1_u32 << 20)
        .map(|number| (number.wrapping_mul(number) >> 7) as u8)
        .collect();
    let mut greeted = b"SSH-2.0-nonsense\r\n".to_vec();
    greeted.extend(&nonsense);
    for bytes in [&nonsense, &greeted] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        // It may be gone before all of it is read.
        let _ = stream.write_all(bytes);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(server.ssh(&["box", "echo alive"]).text(), "alive");
}

#[test]
fn who_does_not_log_in_has_little_time_and_few_places() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&["--max-startups", "2", "--login-grace", "2"]);
    let silent = || TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut first = [silent(), silent()];
    for stream in &mut first {
        // They have their places when they are greeted.
        stream.read_exact(&mut [0; 4]).unwrap();
    }
    let mut third = silent();
    assert_eq!(third.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    server.line("too many clients");
    for mut stream in first {
        // Cut off by the server, after what is left of its greeting.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(server.ssh(&["box", "echo in"]).text(), "in");
}

#[test]
fn a_client_may_try_only_so_many_keys() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&["--max-tries", "3"]);
    let mut arguments = Vec::new();
    for number in 0..4 {
        let key = keygen(
            server.directory.path(),
            &format!("wrong{number}"),
            &["-t", "ed25519"],
        );
        arguments.push(format!("-oIdentityFile={}", key.display()));
    }
    // After those, the right one comes too late.
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["box", "true"]);
    let said = server.ssh(&arguments);
    assert!(
        said.failure().contains("Too many authentication"),
        "{}",
        said.stderr
    );
}

#[test]
fn it_ends_when_asked_to_and_its_clients_with_it() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server
        .client("ssh")
        .args(["box", &format!("echo ready; {}", server.waiting())])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    client
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 6])
        .unwrap();
    assert_eq!(server.end(Signal::TERM), Some(0));
    assert_eq!(client.wait().unwrap().code(), Some(255));
}

#[test]
fn x11_is_refused() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server.client("ssh");
    client
        .args(["-X", "box", "echo D=$DISPLAY."])
        .env("DISPLAY", "127.0.0.1:77");
    client.env_remove("XAUTHORITY");
    let output = client.output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("D="),
        "{output:?}"
    );
    assert!(
        !String::from_utf8_lossy(&output.stdout).contains("D=localhost"),
        "{output:?}"
    );
}

/// What a server that cannot serve says, and its code.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vial-sshd"))
        .args(arguments)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn what_is_wrong_is_said_at_once() {
    if lacks(&["ssh-keygen"]) {
        return;
    }
    let directory = prepare();
    let key = directory
        .path()
        .join("ssh_host_ed25519_key")
        .display()
        .to_string();
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().display().to_string();
    let broken = directory.path().join("broken");
    std::fs::write(&broken, "-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n").unwrap();
    let broken = broken.display().to_string();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (arguments, code, expected) in [
        (&["--what"][..], 2, "unknown argument --what"),
        (&["--user", "A:B"], 2, "--user cannot be"),
        (
            &["--host-key", "/no/such/key"],
            1,
            "cannot read the host key /no/such/key",
        ),
        (&["--host-key", &broken], 1, "cannot use the host key"),
        (&["--host-key", &empty], 1, "no host key in"),
        (
            &["--host-key", &key, "--listen", "127.0.0.1", "--port", &port],
            1,
            "cannot listen on 127.0.0.1",
        ),
        (
            &["--host-key", &key, "--port", "0", "--", "/no/such/program"],
            127,
            "no such program",
        ),
        (
            &["--host-key", &key, "--port", "0", "--", "/etc/passwd"],
            126,
            "not a program",
        ),
    ] {
        let (ended, said) = refused(arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert_eq!(ended, Some(code), "{arguments:?}");
    }
    assert_eq!(refused(&["--help"]).0, Some(0));
}
