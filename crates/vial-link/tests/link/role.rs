//! The role, as a process: when its sockets are there, and when not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use vial_link::{Place, Target, dial};

use crate::guest::Guest;

/// A process of the role, and the socket of its QEMU, which is the test.
struct Role {
    directory: tempfile::TempDir,
    qemu: UnixListener,
    process: Child,
}

impl Role {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let qemu = UnixListener::bind(directory.path().join("link.sock")).unwrap();
        let process = start(directory.path());
        Self {
            directory,
            qemu,
            process,
        }
    }

    fn agent(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    fn dial(&self) -> PathBuf {
        self.directory.path().join("dial.sock")
    }

    /// Its connection to QEMU.
    async fn line(&self) -> UnixStream {
        self.qemu.accept().await.unwrap().0
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(directory: &Path) -> Child {
    let path = |name| directory.join(name);
    Command::new(env!("CARGO_BIN_EXE_vial-link"))
        .arg("--line")
        .arg(path("link.sock"))
        .arg("--agent")
        .arg(path("agent.sock"))
        .arg("--dial")
        .arg(path("dial.sock"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// Looks until it is so.
async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What the guest's agent does, it tells everything back.
async fn ask_agent(socket: &Path) {
    let mut agent = UnixStream::connect(socket).await.unwrap();
    agent.write_all(b"are you there?").await.unwrap();
    agent.shutdown().await.unwrap();
    let mut answer = String::new();
    agent.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "are you there?");
}

#[tokio::test]
async fn the_sockets_are_there_exactly_while_the_guest_answers() {
    let mut role = Role::start();
    let mut line = role.line().await;
    // It calls, and nobody answers.
    line.read_u8().await.unwrap();
    assert!(!role.agent().exists() && !role.dial().exists());

    let guest = Guest::start();
    guest.plug(line);
    until(|| role.agent().exists()).await;
    assert!(role.dial().exists());
    for socket in [role.agent(), role.dial()] {
        let mode = socket.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", socket.display());
    }
    ask_agent(&role.agent()).await;

    // The machine goes, and comes again.
    drop(guest);
    until(|| !role.agent().exists() && !role.dial().exists()).await;
    let guest = Guest::start();
    guest.plug(role.line().await);
    until(|| role.agent().exists()).await;
    ask_agent(&role.agent()).await;

    role.signal("-TERM");
    assert!(role.process.wait().unwrap().success());
    assert!(!role.agent().exists() && !role.dial().exists());
}

#[tokio::test]
async fn whatever_the_guest_reaches_is_dialled() {
    let role = Role::start();
    let guest = Guest::start();
    guest.plug(role.line().await);
    until(|| role.agent().exists()).await;

    let mut stream = dial(&role.dial(), &Target::Unix(guest.socket()))
        .await
        .unwrap();
    stream.write_all(b"over there").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "over there");

    let missing = Target::Unix("/run/nobody.sock".into());
    let error = dial(&role.dial(), &missing).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the guest cannot reach unix /run/nobody.sock: No such"),
        "{error}"
    );
    let error = dial(Path::new("/run/no-link.sock"), &missing)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "cannot reach the guest");
}

#[tokio::test]
async fn after_a_kill_the_next_one_goes_on_with_the_same_guest() {
    let mut role = Role::start();
    let guest = Guest::start();
    guest.plug(role.line().await);
    until(|| role.agent().exists()).await;
    let mut cut = UnixStream::connect(role.agent()).await.unwrap();
    cut.write_all(&[0xab; 100_000]).await.unwrap();

    role.process.kill().unwrap();
    role.process.wait().unwrap();
    assert!(role.agent().exists(), "it could not remove it");
    role.process = start(role.directory.path());
    // What was left is removed before the guest is called.
    let line = role.line().await;
    assert!(!role.agent().exists());
    guest.plug(line);
    until(|| role.agent().exists()).await;
    ask_agent(&role.agent()).await;
}

#[tokio::test]
async fn a_guest_that_starts_anew_takes_the_sockets_with_it() {
    let role = Role::start();
    // The machine's port: what QEMU keeps while the guest is reset.
    let mut port = role.line().await;
    let (mut line, plug) = UnixStream::pair().unwrap();
    let first = Guest::start();
    first.plug(plug);
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut port, &mut line) => panic!("the line has ended"),
        () = until(|| role.agent().exists()) => {}
    }
    let mut connection = UnixStream::connect(role.agent()).await.unwrap();
    drop(first);

    let second = Guest::start();
    second.plug(port);
    // With the session all its streams go, and the sockets before them.
    let mut rest = Vec::new();
    // Reset where nobody had taken it up yet.
    let _ = connection.read_to_end(&mut rest).await;
    until(|| role.agent().exists()).await;
    ask_agent(&role.agent()).await;
}

/// A guest whose line is served, and an address in it that nobody has.
async fn served(role: &Role) -> (Guest, std::net::SocketAddr) {
    let guest = Guest::start();
    guest.plug(role.line().await);
    until(|| role.dial().exists()).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (guest, free.local_addr().unwrap())
}

#[tokio::test]
async fn what_comes_to_a_listener_of_the_guest_is_served_by_the_host() {
    let role = Role::start();
    let (_guest, address) = served(&role).await;
    let listener = vial_link::listen(&role.dial(), Place::Own, address)
        .await
        .unwrap();
    for question in ["one", "two"] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut host, peer) = listener.accept().await;
        assert_eq!(peer, client.local_addr().unwrap());
        client.write_all(question.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        host.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, question);
    }
    let taken = vial_link::listen(&role.dial(), Place::Own, address).await;
    let taken = taken.unwrap_err().to_string();
    assert!(taken.contains("in use"), "{taken}");
    let nowhere = Place::Named("w-1".into());
    let nowhere = vial_link::listen(&role.dial(), nowhere, address).await;
    let nowhere = nowhere.unwrap_err().to_string();
    assert!(nowhere.contains("no network w-1"), "{nowhere}");
    // It listens no longer than somebody wants it.
    drop(listener);
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn datagrams_of_the_guest_are_the_hosts() {
    let role = Role::start();
    let (_guest, address) = served(&role).await;
    let socket = vial_link::bind_udp(&role.dial(), Place::Own, address)
        .await
        .unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"question", address).await.unwrap();
    let (datagram, from) = socket.recv_from().await;
    assert_eq!(datagram, b"question");
    assert_eq!(from, client.local_addr().unwrap());
    socket.send_to(b"answer", from);
    let mut buffer = [0; 64];
    let (length, from) = client.recv_from(&mut buffer).await.unwrap();
    assert_eq!((&buffer[..length], from), (&b"answer"[..], address));
}

#[test]
fn wrong_arguments_are_told_with_the_code_for_them() {
    let output = Command::new(env!("CARGO_BIN_EXE_vial-link"))
        .args(["--agent", "/x"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("--line is missing; usage: vial-link"),
        "{told}"
    );
}

#[test]
fn who_waits_for_one_machine_does_not_wait_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_vial-link"))
        .current_dir(&directory)
        .args(["--line", "line", "--agent", "agent", "--once"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no machine serves line"), "{told}");
}
