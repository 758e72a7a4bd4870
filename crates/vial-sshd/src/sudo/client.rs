//! `sudo`: asks the server, and stands between the person's terminal and the command's.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::options::{Action, Run, parse};
use super::server::{ENDED, REFUSED, RUNS};
use super::target::{self, Asker};
use super::{Request, passing};
use crate::environment::{Environment, Tools, of_account};
use crate::shell;
use crate::site::SUDO_SOCKET;

/// What stays of the caller's environment without `-E`.
const KEPT: [&str; 8] = [
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "LANG",
    "LANGUAGE",
    "TZ",
    "DISPLAY",
    "SSH_CONNECTION",
];
/// How long the rest of the command's output may take after it has ended.
const REST: Duration = Duration::from_secs(2);

/// Runs `sudo` with the arguments of this process; the code is the command's, or 1.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)),
        Err(why) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<i32, String> {
    let run = match parse(std::env::args_os().skip(1))? {
        Action::Run(run) => run,
        Action::Nothing => return Ok(0),
        Action::List => return Ok(say("    (ALL : ALL) NOPASSWD: ALL\n")),
        Action::Version => {
            return Ok(say(&format!(
                "Sudo of vial-sshd {}\n",
                env!("CARGO_PKG_VERSION")
            )));
        }
        Action::Help => {
            return Ok(say(
                "usage: sudo [-EHins] [-u USER] [-D DIR] [NAME=value] COMMAND [ARGS]...\n",
            ));
        }
    };
    let background = run.background;
    let request = request(run)?;
    if rustix::process::geteuid().is_root() {
        return Err(become_it(&request));
    }
    let name = std::env::var_os(SUDO_SOCKET)
        .ok_or("there is no server to ask: this is no session of vial-sshd as root")?;
    let address = SocketAddr::from_abstract_name(name.as_bytes());
    let stream = address
        .and_then(|address| UnixStream::connect_addr(&address))
        .map_err(|error| format!("cannot ask the ssh server: {error}"))?;
    ask(stream, &request, background).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the ssh server is gone".into(),
        io::ErrorKind::PermissionDenied => error.to_string(),
        _ => format!("cannot go on: {error}"),
    })
}

fn request(run: Run) -> Result<Request, String> {
    let here = std::env::current_dir().map_or_else(|_| "/".into(), OsString::from);
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| {
            let own = ["HOME", "USER", "LOGNAME", "SHELL", "PATH"].map(OsStr::new);
            let kept = KEPT.map(OsStr::new).contains(&name.as_os_str())
                || name.as_bytes().starts_with(b"LC_");
            run.keep.contains(name)
                || kept
                || (run.keep_environment && !own.contains(&name.as_os_str()))
        })
        .collect();
    environment.extend(run.set);
    let request = Request {
        user: run.user.unwrap_or_else(|| "root".into()),
        directory: run.directory.unwrap_or(here),
        login: run.login,
        shell: run.shell,
        command: run.command,
        environment,
    };
    if request.encode().len() > super::request::LARGEST {
        return Err("command and environment are too long".into());
    }
    Ok(request)
}

/// Who is root already does not need a server. Returns only when that failed.
fn become_it(request: &Request) -> String {
    let account = match target::account(request) {
        Ok(account) => account,
        Err(why) => return why,
    };
    let asker = Asker {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    let container: Environment = std::env::vars_os().collect();
    let chosen = shell::choose(&account, None, &shell::is_program);
    let environment = of_account(&container, &account, None, &Tools::default());
    let mut command = match target::command(request, &account, chosen, environment, &asker) {
        Ok(command) => command,
        Err(why) => return why,
    };
    if let Some(credentials) = account.credentials() {
        vial_sys::session::drop_to(&mut command, credentials);
    }
    let error = command.exec();
    format!("{}: {error}", command.get_program().display())
}

fn ask(stream: UnixStream, request: &Request, background: bool) -> io::Result<i32> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let bytes = request.encode();
    let mut sent = passing::send(&stream, &bytes, &fds)?;
    while sent < bytes.len() {
        sent += (&stream).write(&bytes[sent..])?;
    }
    let mut first = [0];
    let (length, mut received) = passing::receive(&stream, &mut first)?;
    match (length, first[0]) {
        (1, RUNS) => {}
        (1, REFUSED) => {
            let mut why = String::new();
            (&stream).read_to_string(&mut why)?;
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        _ => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    let controller = received.pop();
    if background && controller.is_none() {
        return detach(stream);
    }
    let raw = controller.as_ref().and_then(|_| Raw::new(&stdin));
    let code = attend(stream, controller, &fds);
    drop(raw);
    code
}

/// Leaves a child to wait, so that the command is not hung up.
fn detach(stream: UnixStream) -> io::Result<i32> {
    match vial_sys::process::fork().map_err(io::Error::other)? {
        vial_sys::process::Fork::Parent(_) => Ok(0),
        vial_sys::process::Fork::Child => attend(stream, None, &[]),
    }
}

/// Carries keys, output, sizes and signals until the command has ended, and returns its code.
fn attend(
    stream: UnixStream,
    controller: Option<OwnedFd>,
    fds: &[BorrowedFd<'_>],
) -> io::Result<i32> {
    stream.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        let output = match &controller {
            Some(controller) => Some(relay(controller, fds)?),
            None => None,
        };
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        for kind in kinds {
            let (mut signals, tell) = (signal(kind)?, tell.clone());
            tokio::spawn(async move {
                while signals.recv().await.is_some() && tell.send(kind).is_ok() {}
            });
        }
        let mut sizes = signal(SignalKind::window_change())?;
        let code = loop {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            tokio::select! {
                answer = stream.read_u8() => match answer? {
                    ENDED => break stream.read_i32().await?,
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                },
                Some(kind) = told.recv() => {
                    let number = u8::try_from(kind.as_raw_value()).unwrap_or(0);
                    stream.write_u8(number).await?;
                }
                _ = sizes.recv() => {
                    let own = fds.iter().find(|fd| isatty(fd));
                    if let (Some(own), Some(controller)) = (own, &controller)
                        && let Ok(size) = tcgetwinsize(own)
                    {
                        // Fails when the command has just ended.
                        let _ = vial_sys::pty::resize(controller, size.ws_col, size.ws_row);
                    }
                }
            }
        };
        if let Some(output) = output {
            // What is in the background may keep the terminal open for ever.
            let _ = tokio::time::timeout(REST, output).await;
        }
        Ok(code)
    });
    // A thread that still reads the terminal must not hold this back.
    runtime.shutdown_background();
    code
}

/// Carries keys to the command's terminal, and what it writes to the person's; resolves when all of it is written.
fn relay(controller: &OwnedFd, fds: &[BorrowedFd<'_>]) -> io::Result<tokio::task::JoinHandle<()>> {
    let own = |fd: &BorrowedFd<'_>| fd.try_clone_to_owned();
    if let Some(stdin) = fds.first().filter(|fd| isatty(fd)) {
        let (from, to) = (own(stdin)?, controller.try_clone()?);
        std::thread::spawn(move || copy(&from, &to));
    }
    let from = controller.try_clone()?;
    let to = fds.iter().cycle().skip(1).take(3).find(|fd| isatty(fd));
    let to = own(to.ok_or(io::ErrorKind::InvalidInput)?)?;
    Ok(tokio::task::spawn_blocking(move || copy(&from, &to)))
}

/// Copies until one side ends.
fn copy(from: &OwnedFd, to: &OwnedFd) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = match rustix::io::read(from, &mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            match rustix::io::write(to, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// The person's terminal in raw mode, as long as this lives: the command's terminal does the rest.
struct Raw {
    before: Termios,
    terminal: OwnedFd,
}

impl Raw {
    /// `None` where standard input is no terminal, or somebody else is in its foreground.
    fn new(stdin: impl AsFd) -> Option<Self> {
        let before = tcgetattr(&stdin).ok()?;
        let foreground = rustix::termios::tcgetpgrp(&stdin).ok()?;
        if foreground != rustix::process::getpgrp() {
            return None;
        }
        let mut raw = before.clone();
        raw.make_raw();
        let terminal = stdin.as_fd().try_clone_to_owned().ok()?;
        tcsetattr(&terminal, OptionalActions::Drain, &raw).ok()?;
        Some(Self { before, terminal })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Fails when the terminal is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

fn say(text: &str) -> i32 {
    i32::from(io::stdout().write_all(text.as_bytes()).is_err())
}

fn complain(why: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "sudo: {why}");
}
