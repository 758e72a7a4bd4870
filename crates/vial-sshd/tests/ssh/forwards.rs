//! Sockets through the connection: -L, -R, -D, -J, -W, unix sockets, the agent.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use crate::lab::{PATIENCE, Ran, Server, lacks};

/// A service that returns what it gets, in capitals, when its client has ended; at a port of 127.0.0.1.
fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || capitals(stream));
        }
    });
    port
}

fn capitals(mut stream: impl std::io::Read + std::io::Write) {
    let mut bytes = Vec::new();
    // A client that is gone needs no answer.
    if stream.read_to_end(&mut bytes).is_ok() {
        let _ = stream.write_all(&bytes.to_ascii_uppercase());
    }
}

/// Sends a megabyte and its end, and expects it back in capitals.
fn asks(mut stream: TcpStream) {
    let sent = b"abcd".repeat(1 << 18);
    let mut writer = stream.try_clone().unwrap();
    let expected = sent.to_ascii_uppercase();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == expected, "{} bytes came back", back.len());
}

/// A client that forwards and tells when it does, by running a command.
struct Forwarding(Child, BufReader<std::process::ChildStderr>);

impl Forwarding {
    fn start(server: &Server, arguments: &[&str]) -> Self {
        let mut child = server
            .client("ssh")
            .args(["-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=INFO"])
            .args(arguments)
            .args(["box", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut [0; 6])
            .unwrap();
        Self(child, stderr)
    }

    /// The number in a line with `text`.
    fn port(&mut self, text: &str) -> u16 {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.1.read_line(&mut line).unwrap(), 0, "no {text:?}");
        }
        let rest = line.split(text).nth(1).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[test]
fn ports_of_the_far_side_are_reached() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let (near, far) = (free_port(), service());
    let _forwarding = Forwarding::start(
        &server,
        &["-L", &format!("127.0.0.1:{near}:localhost:{far}")],
    );
    for _ in 0..3 {
        asks(TcpStream::connect(("127.0.0.1", near)).unwrap());
    }
    let many: Vec<_> = (0..10)
        .map(|_| std::thread::spawn(move || asks(TcpStream::connect(("127.0.0.1", near)).unwrap())))
        .collect();
    many.into_iter().for_each(|one| one.join().unwrap());
}

#[test]
fn ports_of_the_near_side_are_reached() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let near = service();
    let mut forwarding = Forwarding::start(&server, &["-R", &format!("0:127.0.0.1:{near}")]);
    let far = forwarding.port("Allocated port ");
    asks(TcpStream::connect(("127.0.0.1", far)).unwrap());
    drop(forwarding);
    server.line("logout of");
    let begun = std::time::Instant::now();
    while TcpStream::connect(("127.0.0.1", far)).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it still listens");
        std::thread::yield_now();
    }
    // One that is taken is refused, and the client told.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port();
    let keep = TcpListener::bind(("127.0.0.1", taken));
    let forward = format!("127.0.0.1:{taken}:127.0.0.1:{near}");
    if keep.is_ok() {
        let ran = server.ssh(&[
            "-o",
            "ExitOnForwardFailure=yes",
            "-R",
            &forward,
            "box",
            "true",
        ]);
        assert!(
            ran.failure().contains("remote port forwarding failed"),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_proxy_and_a_jump_lead_on() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let (near, far) = (free_port(), service());
    let _forwarding = Forwarding::start(&server, &["-D", &format!("127.0.0.1:{near}")]);
    let mut stream = TcpStream::connect(("127.0.0.1", near)).unwrap();
    // SOCKS 5 (RFC 1928): no authentication; connect to a name.
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [5, 0]);
    let mut request = vec![5, 1, 0, 3, 9];
    request.extend(b"localhost");
    request.extend(far.to_be_bytes());
    stream.write_all(&request).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..2], [5, 0]);
    asks(stream);
    assert_eq!(
        server.ssh(&["-J", "box2", "box", "echo there"]).text(),
        "there"
    );
    let ran = server.ssh_with(b"words", &["-W", &format!("127.0.0.1:{far}"), "box"]);
    assert_eq!(ran.text(), "WORDS");
    let nothing = format!("127.0.0.1:{}", free_port());
    server.ssh(&["-W", &nothing, "box"]).failure();
}

#[test]
fn unix_sockets_are_forwarded_both_ways() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let listener = UnixListener::bind(server.path("service")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            capitals(stream);
        }
    });
    let path = |name: &str| server.path(name).display().to_string();
    let (near, far) = (path("near"), path("far"));
    let (there, back) = (
        format!("{near}:{}", path("service")),
        format!("{far}:{}", path("service")),
    );
    let forwarding = Forwarding::start(&server, &["-L", &there, "-R", &back]);
    for socket in [&near, &far] {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(b"words").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "WORDS");
    }
    drop(forwarding);
    server.line("logout of");
    assert!(!server.path("far").exists(), "the socket's file is left");
}

#[test]
fn the_agent_comes_along() {
    if lacks(&["ssh", "ssh-keygen", "ssh-agent", "ssh-add"]) {
        return;
    }
    let server = Server::start(&[]);
    let socket = server.path("agent");
    let mut agent = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let with_agent = |program: &str| {
        let mut command = Command::new(program);
        command.env("SSH_AUTH_SOCK", &socket);
        command
    };
    while !socket.exists() {
        std::thread::yield_now();
    }
    let added = with_agent("ssh-add")
        .arg("-q")
        .arg(server.path("id"))
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let mut ssh = server.client("ssh");
    ssh.env("SSH_AUTH_SOCK", &socket);
    let command = "ssh-add -L; echo $SSH_AUTH_SOCK";
    let text = Ran::of(ssh.args(["-A", "box", command]).output().unwrap()).text();
    let key = std::fs::read_to_string(server.path("id.pub")).unwrap();
    assert!(text.contains(key.split(' ').nth(1).unwrap()), "{text}");
    let left = std::path::Path::new(text.lines().last().unwrap()).to_owned();
    server.line("logout of");
    let begun = std::time::Instant::now();
    while left.exists() || left.parent().unwrap().exists() {
        assert!(begun.elapsed() < PATIENCE, "{} is left", left.display());
        std::thread::yield_now();
    }
    agent.kill().unwrap();
    agent.wait().unwrap();
}
