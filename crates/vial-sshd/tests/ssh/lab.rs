//! A server on a free port of 127.0.0.1, with keys in a directory of its own, and the clients of the person.
//!
//! Nothing of the person's own configuration is read, and nothing is left: the server ends with its [`Server`].

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

/// Long enough for a busy machine; only what is broken waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whether `program` can be run here.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Says that the calling test cannot run where one of `programs` is missing.
pub(crate) fn lacks(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !has(program));
    if let Some(missing) = missing {
        vial_testing::skip(&format!("there is no {missing}"));
    }
    missing.is_some()
}

/// Makes a key pair, and returns the private one's path.
pub(crate) fn keygen(directory: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = directory.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .args(arguments)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    path
}

/// Who runs the tests.
pub(crate) fn me() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a program did.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its output, without the last line's end; it has to have gone well.
    pub(crate) fn text(&self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// It has to have gone wrong; what it said.
    pub(crate) fn failure(&self) -> &str {
        assert_ne!(
            self.code,
            Some(0),
            "{}",
            String::from_utf8_lossy(&self.stdout)
        );
        &self.stderr
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) directory: TempDir,
    lines: Receiver<String>,
    /// Lines that came before it was known where it listens: a server in the background says so beside its caller.
    early: RefCell<Vec<String>>,
}

/// Keys and configuration, before the server is there.
pub(crate) fn prepare() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    keygen(path, "ssh_host_ed25519_key", &["-t", "ed25519"]);
    keygen(path, "id", &["-t", "ed25519"]);
    fs::copy(path.join("id.pub"), path.join("authorized_keys")).unwrap();
    directory
}

impl Server {
    /// One with these arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(prepare(), arguments)
    }

    /// One with these arguments, and the keys of a directory.
    pub(crate) fn start_in(directory: TempDir, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vial-sshd"));
        command
            .arg("--host-key")
            .arg(directory.path())
            .arg("--authorized-keys")
            .arg(directory.path().join("authorized_keys"))
            .args(["--listen", "127.0.0.1", "--port", "0"])
            .args(arguments);
        Self::run(directory, command)
    }

    /// What `command` starts.
    pub(crate) fn run(directory: TempDir, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self {
            child,
            port: 0,
            directory,
            lines,
            early: RefCell::default(),
        };
        let mut early = Vec::new();
        let line = server.next("listening on ", |line| early.push(line));
        server.early = early.into();
        server.port = line.rsplit(':').next().unwrap().parse().unwrap();
        server.configure();
        server
    }

    fn configure(&self) {
        let path = self.path("").display().to_string();
        let key = fs::read_to_string(self.path("ssh_host_ed25519_key.pub")).unwrap();
        fs::write(self.path("known_hosts"), format!("box {key}")).unwrap();
        let user = me();
        let config = format!(
            "Host box box2\n  HostName 127.0.0.1\n  HostKeyAlias box\n  Port {}\n  User {user}\n  IdentityFile {path}id\n\
             \x20 IdentitiesOnly yes\n  UserKnownHostsFile {path}known_hosts\n  GlobalKnownHostsFile /dev/null\n\
             \x20 StrictHostKeyChecking yes\n  BatchMode yes\n  LogLevel ERROR\n",
            self.port
        );
        fs::write(self.path("config"), config).unwrap();
    }

    /// A file of the server's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command that reads nothing and goes on until this server's directory is removed: what a client leaves running
    /// ends with the test.
    pub(crate) fn waiting(&self) -> String {
        format!(
            "while test -e {}; do sleep 0.2; done",
            self.path("id").display()
        )
    }

    /// Waits for a line of its log with `part`.
    pub(crate) fn line(&self, part: &str) -> String {
        let mut early = self.early.borrow_mut();
        if let Some(at) = early.iter().position(|line| line.contains(part)) {
            return early.remove(at);
        }
        self.next(part, |_| {})
    }

    fn next(&self, part: &str, mut passed_over: impl FnMut(String)) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("the server did not say {part:?}"));
            if line.contains(part) {
                return line;
            }
            passed_over(line);
        }
    }

    /// The container's PID 1, as it is called here, where the server is in one.
    pub(crate) fn first_process(&self) -> Option<rustix::process::Pid> {
        let pid = self.pid();
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let first = children.split_whitespace().next()?.parse().ok()?;
        (name.trim() == "unshare").then(|| rustix::process::Pid::from_raw(first))?
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, and returns its exit code.
    pub(crate) fn end(mut self, signal: rustix::process::Signal) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Its memory in KiB: `VmRSS` of proc_pid_status(5).
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// ssh, scp or sftp, which know the server as `box`.
    pub(crate) fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.path("config"));
        command.env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command
    }

    /// Runs a client to its end.
    pub(crate) fn run_client(&self, program: &str, arguments: &[&str]) -> Ran {
        Ran::of(self.client(program).args(arguments).output().unwrap())
    }

    pub(crate) fn ssh(&self, arguments: &[&str]) -> Ran {
        self.run_client("ssh", arguments)
    }

    /// The same with something on standard input.
    pub(crate) fn ssh_with(&self, input: &[u8], arguments: &[&str]) -> Ran {
        let mut child = self
            .client("ssh")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A command that does not read all of it is no failure of the test.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ran::of(output)
    }

    /// A connection that many sessions share, through `ssh -S`.
    pub(crate) fn master(&self) -> Master<'_> {
        let socket = self.path("master").display().to_string();
        let ran = self.ssh(&["-M", "-S", &socket, "-f", "-N", "box"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        Master {
            server: self,
            socket,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // That of a container is a child of what made the container.
        if let Some(first) = self.first_process() {
            let _ = rustix::process::kill_process(first, rustix::process::Signal::KILL);
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shared connection, which ends with this.
pub(crate) struct Master<'a> {
    server: &'a Server,
    socket: String,
}

impl Master<'_> {
    /// A client that goes through it.
    pub(crate) fn client(&self) -> Command {
        let mut command = self.server.client("ssh");
        command.args(["-S", &self.socket]);
        command
    }

    pub(crate) fn ssh(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.client().args(arguments).output().unwrap())
    }
}

impl Drop for Master<'_> {
    fn drop(&mut self) {
        self.ssh(&["-O", "exit", "box"]);
    }
}
