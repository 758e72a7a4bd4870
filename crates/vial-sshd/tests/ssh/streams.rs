//! A lot of bytes, and clients and commands that do not take them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::lab::{Server, lacks};

const LARGE: usize = 100 << 20;
/// What a server with clients that stand still may use, in KiB.
const SMALL: u64 = 48 * 1024;

/// Bytes that do not repeat.
fn large() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(LARGE);
    while bytes.len() < LARGE {
        // xorshift64: any change of order or place is seen.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

fn digest(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

#[test]
fn a_hundred_megabytes_go_there_and_back_at_once() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let bytes = large();
    let wanted = digest(&bytes);
    std::fs::write(server.path("large"), &bytes).unwrap();
    let mut child = server
        .client("ssh")
        .args(["box", "cat"])
        .stdin(File::open(server.path("large")).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut back = Vec::with_capacity(LARGE);
    child.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!((back.len(), digest(&back)), (bytes.len(), wanted));
    // Both outputs at once.
    let command = format!(
        "cat {0} >&2 & cat {0}; wait",
        server.path("large").display()
    );
    let output = server
        .client("ssh")
        .args(["box", &command])
        .output()
        .unwrap();
    assert_eq!(digest(&output.stdout), digest(&bytes));
    assert_eq!(digest(&output.stderr), digest(&bytes));
}

/// Waits until the server moves nothing any more: what it has read stays the same.
fn stands_still(server: &Server) {
    let read = || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", server.pid())).unwrap();
        io.lines()
            .find(|line| line.starts_with("rchar"))
            .unwrap()
            .to_owned()
    };
    let (mut before, mut same) = (read(), 0);
    while same < 10 {
        std::thread::sleep(Duration::from_millis(20));
        let now = read();
        same = if now == before { same + 1 } else { 0 };
        before = now;
    }
}

#[test]
fn a_client_that_stops_reading_costs_no_memory() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let mut stuck = server
        .client("ssh")
        .args(["box", "cat /dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    stuck
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    stands_still(&server);
    assert!(server.memory() < SMALL, "{} KiB", server.memory());
    assert_eq!(
        server.ssh(&["box", "echo others go on"]).text(),
        "others go on"
    );
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}

#[test]
fn a_command_that_stops_reading_holds_up_nobody_else() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let master = server.master();
    let mut stuck: Vec<_> = (0..3)
        .map(|_| {
            let mut client: Command = master.client();
            client.args(["box", &format!("echo ready; {}", server.waiting())]);
            client
                .stdin(File::open("/dev/zero").unwrap())
                .stdout(Stdio::piped());
            let mut child = client.spawn().unwrap();
            child
                .stdout
                .as_mut()
                .unwrap()
                .read_exact(&mut [0; 6])
                .unwrap();
            child
        })
        .collect();
    // On the same connection: a lot of bytes both ways, and a short word.
    let bytes = &large()[..LARGE / 5];
    let mut client = master.client();
    client
        .args(["box", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut echo = client.spawn().unwrap();
    let (mut input, sent) = (echo.stdin.take().unwrap(), bytes.to_vec());
    let writer = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let mut back = Vec::new();
    echo.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(echo.wait().unwrap().success());
    assert_eq!(digest(&back), digest(bytes));
    assert_eq!(master.ssh(&["box", "echo a word"]).text(), "a word");
    assert!(server.memory() < SMALL, "{} KiB", server.memory());
    for child in &mut stuck {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_command_that_reads_late_gets_everything() {
    if lacks(&["ssh", "ssh-keygen", "sha256sum"]) {
        return;
    }
    let server = Server::start(&[]);
    let bytes = &large()[..LARGE / 4];
    let go = server.path("go").display().to_string();
    std::fs::write(server.path("part"), bytes).unwrap();
    let mut child = server
        .client("ssh")
        .args([
            "box",
            &format!("while ! test -e {go}; do sleep 0.05; done; sha256sum"),
        ])
        .stdin(File::open(server.path("part")).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    server.line("login of");
    std::fs::write(&go, "").unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    child.wait().unwrap();
    let wanted: String = digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(text.starts_with(&wanted), "{text}");
}
