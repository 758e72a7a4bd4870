//! Sessions with a terminal: size, resizing, keys that mean something, the end.

use std::io::{Read as _, Write as _};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Signal, kill_process};
use vial_sys::session::{Terminal, prepare};

use crate::lab::{PATIENCE, Server, lacks};

/// A person at a terminal, in which ssh runs.
struct Person {
    ssh: Child,
    terminal: std::fs::File,
    seen: Receiver<Vec<u8>>,
    screen: String,
}

impl Person {
    fn at(server: &Server, (columns, rows): (u16, u16), command: &[&str]) -> Self {
        let pty = vial_sys::pty::open(columns, rows).unwrap();
        let mut ssh = server.client("ssh");
        ssh.arg("-t").arg("box").args(command).env("TERM", "vt220");
        let other = || pty.terminal.try_clone().unwrap();
        ssh.stdin(other()).stdout(other()).stderr(other());
        prepare(&mut ssh, Terminal::Stdin, None);
        let ssh = ssh.spawn().unwrap();
        let terminal = std::fs::File::from(pty.controller);
        let mut reader = terminal.try_clone().unwrap();
        let (tell, seen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The error is the end of the terminal.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if tell.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            ssh,
            terminal,
            seen,
            screen: String::new(),
        }
    }

    fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `text` was seen, and forgets what came before.
    fn sees(&mut self, text: &str) {
        while !self.screen.contains(text) {
            let more = self.seen.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("{text:?} is not in {:?}", self.screen));
            self.screen += &String::from_utf8_lossy(&more);
        }
        let end = self.screen.find(text).unwrap() + text.len();
        self.screen.drain(..end);
    }

    fn code(mut self) -> Option<i32> {
        self.ssh.wait().unwrap().code()
    }
}

#[test]
fn a_terminal_has_the_person_s_size_and_follows_it() {
    if lacks(&["ssh", "ssh-keygen", "stty"]) {
        return;
    }
    let server = Server::start(&[]);
    let command = "echo $TERM; stty size; trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut person = Person::at(&server, (132, 43), &[command]);
    person.sees("vt220");
    person.sees("43 132");
    person.sees("ready");
    vial_sys::pty::resize(&person.terminal, 100, 30).unwrap();
    kill_process(rustix::process::Pid::from_child(&person.ssh), Signal::WINCH).unwrap();
    person.sees("30 100");
    assert_eq!(person.code(), Some(5));
}

#[test]
fn keys_interrupt_and_end() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let command =
        "trap 'echo interrupted' INT; sh -c 'echo ready; exec cat'; echo cat ended; exec cat";
    let mut person = Person::at(&server, (80, 24), &[command]);
    person.sees("ready");
    person.types("\x03");
    person.sees("interrupted");
    person.sees("cat ended");
    person.types("line\n");
    // Once by the terminal's echo, once by cat.
    person.sees("line");
    person.sees("line");
    person.types("\x04");
    assert_eq!(person.code(), Some(0));
}

#[test]
fn a_shell_has_jobs_and_a_terminal_of_its_own() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let mut person = Person::at(&server, (80, 24), &[]);
    person.types("exec sh\n");
    person.types("test \"$(tty)\" = \"$SSH_TTY\" && echo o'w'n\n");
    person.sees("own\r");
    person.types("sh -c 'echo st\"\"arted; exec sleep 1000'\n");
    person.sees("started");
    person.types("\x1a");
    person.sees("Stopped");
    person.types("kill -9 %1; exit 4; exit 4\n");
    assert_eq!(person.code(), Some(4));
}

#[test]
fn who_hangs_up_leaves_nothing_running() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let mut person = Person::at(&server, (80, 24), &["echo pid=$$.; exec sleep 1000"]);
    person.sees("pid=");
    person.sees(".");
    person.ssh.kill().unwrap();
    person.ssh.wait().unwrap();
    server.line("logout of");
    // The kernel hangs the terminal up: the server's only child ends, and is reaped.
    let pid = server.pid();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let begun = std::time::Instant::now();
    while !std::fs::read_to_string(&children)
        .unwrap()
        .trim()
        .is_empty()
    {
        assert!(begun.elapsed() < PATIENCE, "it lives on");
        std::thread::yield_now();
    }
}
