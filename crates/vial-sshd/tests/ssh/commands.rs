//! Commands: codes, signals, input, output, environment, many at once.

use std::process::Stdio;

use russh::keys::PrivateKeyWithHashAlg;

use crate::lab::{Server, lacks, me};

#[test]
fn a_command_s_code_output_and_errors_come_back() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let ran = server.ssh(&["box", "echo out; echo err >&2; exit 7"]);
    assert_eq!((ran.code, &ran.stdout[..]), (Some(7), &b"out\n"[..]));
    assert_eq!(ran.stderr, "err\n");
    assert_eq!(server.ssh(&["box", "no-such-program"]).code, Some(127));
    // Ended by a signal, which ssh has one code for.
    assert_eq!(server.ssh(&["box", "kill -TERM $$"]).code, Some(255));
    let login = server.line("login of ");
    assert!(login.contains("from 127.0.0.1 port "), "{login}");
    assert!(login.contains("with ssh-ed25519 SHA256:"), "{login}");
    server.line(&format!("logout of {}", me()));
}

#[test]
fn input_arrives_and_ends() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    assert_eq!(
        server.ssh_with(b"one\ntwo\n", &["box", "wc -l"]).text(),
        "2"
    );
    // Its output ends only after its input has.
    let ran = server.ssh_with(b"x", &["box", "cat >/dev/null; echo all"]);
    assert_eq!(ran.text(), "all");
    // A command that reads nothing of a lot does not wait for it.
    let ran = server.ssh_with(&vec![0; 8 << 20], &["box", "echo done"]);
    assert_eq!(ran.text(), "done");
}

#[test]
fn a_shell_without_a_terminal_takes_a_script() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let ran = server.ssh_with(b"echo \"$0 $HOME\"; exit 3\n", &["-T", "box"]);
    assert_eq!(ran.code, Some(3));
    let output = String::from_utf8_lossy(&ran.stdout).into_owned();
    // The dash says that it is a login shell.
    assert!(output.lines().any(|line| line.starts_with('-')), "{output}");
}

#[test]
fn the_environment_is_the_container_s_and_the_client_s() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let ran = server.ssh(&[
        "-o",
        "SetEnv=FOO=bar LC_ALL=C",
        "box",
        "echo $FOO $LC_ALL $USER",
    ]);
    assert_eq!(ran.text(), format!("bar C {}", me()));
    let ran = server.ssh(&["box", "echo $SSH_CONNECTION"]).text();
    assert!(ran.starts_with("127.0.0.1 "), "{ran}");
    assert!(
        ran.ends_with(&format!(" 127.0.0.1 {}", server.port)),
        "{ran}"
    );
    // What cargo gave to the server, as a pod's specification does.
    assert_ne!(server.ssh(&["box", "echo $CARGO_MANIFEST_DIR"]).text(), "");
}

#[test]
fn twenty_sessions_at_once_on_twenty_connections_and_on_one() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let master = server.master();
    for shared in [false, true] {
        let sessions: Vec<_> = (0..20)
            .map(|number| {
                let mut client = if shared {
                    master.client()
                } else {
                    server.client("ssh")
                };
                // Each waits for its input, so all of them are there before any ends.
                client.args(["box", &format!("echo {number}; read line; exit {number}")]);
                client.stdin(Stdio::piped()).stdout(Stdio::piped());
                client.spawn().unwrap()
            })
            .collect();
        let mut ready = Vec::new();
        for mut session in sessions {
            let mut output = std::io::BufReader::new(session.stdout.take().unwrap());
            let mut line = String::new();
            std::io::BufRead::read_line(&mut output, &mut line).unwrap();
            ready.push((session, line));
        }
        for (number, (mut session, line)) in ready.into_iter().enumerate() {
            assert_eq!(line.trim(), number.to_string());
            drop(session.stdin.take());
            assert_eq!(session.wait().unwrap().code(), i32::try_from(number).ok());
        }
    }
}

#[test]
fn what_is_in_the_background_goes_on() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let pid = server
        .ssh(&["box", "sleep 1000 >/dev/null 2>&1 </dev/null & echo $!"])
        .text();
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// OpenSSH's client cannot send signals; other clients, and editors, do.
#[tokio::test]
async fn a_client_s_signal_reaches_the_command() {
    if lacks(&["ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let client = client(&server).await;
    let mut channel = client.channel_open_session().await.unwrap();
    channel
        .exec(
            true,
            "trap 'exit 42' USR1; echo ready; while :; do sleep 0.05; done",
        )
        .await
        .unwrap();
    let mut code = None;
    while let Some(message) = channel.wait().await {
        match message {
            russh::ChannelMsg::Data { .. } => channel.signal(russh::Sig::USR1).await.unwrap(),
            russh::ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
            _ => {}
        }
    }
    assert_eq!(code, Some(42));
}

#[tokio::test]
async fn the_signal_that_ended_a_command_is_told() {
    if lacks(&["ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let client = client(&server).await;
    let mut channel = client.channel_open_session().await.unwrap();
    channel.exec(true, "kill -SEGV $$").await.unwrap();
    let mut name = None;
    while let Some(message) = channel.wait().await {
        if let russh::ChannelMsg::ExitSignal { signal_name, .. } = message {
            name = Some(signal_name);
        }
    }
    assert!(matches!(name, Some(russh::Sig::SEGV)), "{name:?}");
}

struct Trusting;

impl russh::client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn client(server: &Server) -> russh::client::Handle<Trusting> {
    let config = std::sync::Arc::new(russh::client::Config::default());
    let address = ("127.0.0.1", server.port);
    let mut client = russh::client::connect(config, address, Trusting)
        .await
        .unwrap();
    let key = russh::keys::load_secret_key(server.path("id"), None).unwrap();
    let key = PrivateKeyWithHashAlg::new(std::sync::Arc::new(key), None);
    let result = client.authenticate_publickey(me(), key).await.unwrap();
    assert!(result.success());
    client
}
