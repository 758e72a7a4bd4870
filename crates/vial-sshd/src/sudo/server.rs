//! The server's side of `sudo`: who asks, what runs, how it ended.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::sync::Arc;

use rustix::process::Signal;
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};
use vial_sys::session::{Terminal, prepare};

use super::request::LARGEST;
use super::target::{self, Asker};
use super::{Request, passing};
use crate::reaper::{Child, Whom};
use crate::site::Site;

/// First byte of an answer: the command runs. A descriptor comes with it when it has a terminal of its own.
pub(super) const RUNS: u8 = b'R';
/// It ended: four bytes of its code follow.
pub(super) const ENDED: u8 = b'E';
/// It does not run: a text follows.
pub(super) const REFUSED: u8 = b'X';

/// The socket at which `sudo` asks.
#[derive(Debug)]
pub(crate) struct Service {
    listener: UnixListener,
    name: OsString,
}

impl Service {
    /// Listens at a name of its own. Abstract, so it needs no directory that can be written.
    pub(crate) fn new() -> io::Result<Self> {
        let name = format!("vial-sudo/{:016x}", crate::forward::agent::random()?);
        let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            name: name.into(),
        })
    }

    /// What `sudo` has to know.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Answers for ever.
    pub(crate) async fn serve(self, site: Arc<Site>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let site = site.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(&site, stream).await {
                            tracing::debug!("sudo: {error}");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!("sudo cannot be served: {error}");
                    // Descriptors come back when others end.
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// One request, from its first byte to the end of its command.
async fn answer(site: &Site, stream: UnixStream) -> io::Result<()> {
    let asked_by = stream.peer_cred()?;
    let (bytes, fds) = receive(&stream).await?;
    let asker = Asker {
        uid: asked_by.uid(),
        gid: asked_by.gid(),
    };
    if !site.accounts.may_become_root(asker.uid) {
        return refuse(&stream, "only the user of this pod may").await;
    }
    let (Some(request), Ok(stdio)) = (Request::decode(&bytes), <[OwnedFd; 3]>::try_from(fds))
    else {
        return refuse(&stream, "that was no request").await;
    };
    match start(site, &request, &asker, stdio) {
        Ok((child, controller)) => {
            tracing::info!(
                "sudo of uid {} as {}: {}",
                asker.uid,
                request.user.display(),
                request.command.join(OsStr::new(" ")).display()
            );
            let fds: Vec<BorrowedFd<'_>> = controller.iter().map(OwnedFd::as_fd).collect();
            send(&stream, &[RUNS], &fds).await?;
            drop(fds);
            drop(controller);
            wait(site, stream, child).await
        }
        Err(why) => refuse(&stream, &why).await,
    }
}

/// Starts the command. Where it has a terminal of its own, the controlling side is returned.
fn start(
    site: &Site,
    request: &Request,
    asker: &Asker,
    stdio: [OwnedFd; 3],
) -> Result<(Child, Option<OwnedFd>), String> {
    let account = target::account(request)?;
    let environment = site.environment_of(&account);
    let mut command = target::command(request, &account, site.shell(&account), environment, asker)?;
    let (stdio, controller) =
        own_terminal(stdio).map_err(|error| format!("cannot make a terminal: {error}"))?;
    let [stdin, stdout, stderr] = stdio;
    let terminal = if rustix::termios::isatty(&stdin) {
        Terminal::Stdin
    } else {
        Terminal::None
    };
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    prepare(&mut command, terminal, account.credentials());
    let child = site.reaper.spawn(&mut command).map_err(|error| {
        let name = command.get_program().display().to_string();
        format!("{name}: {error}")
    })?;
    Ok((child, controller))
}

type Stdio = ([OwnedFd; 3], Option<OwnedFd>);

/// Puts a new terminal, with the same modes and size, in the place of the caller's.
fn own_terminal(stdio: [OwnedFd; 3]) -> io::Result<Stdio> {
    let Some(theirs) = stdio.iter().find(|fd| rustix::termios::isatty(fd)) else {
        return Ok((stdio, None));
    };
    let size = tcgetwinsize(theirs)?;
    let pty = vial_sys::pty::open(size.ws_col, size.ws_row)?;
    tcsetattr(&pty.terminal, OptionalActions::Now, &tcgetattr(theirs)?)?;
    let mut replaced = Vec::with_capacity(stdio.len());
    for fd in stdio {
        replaced.push(if rustix::termios::isatty(&fd) {
            pty.terminal.try_clone()?
        } else {
            fd
        });
    }
    let stdio = replaced
        .try_into()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((stdio, Some(pty.controller)))
}

/// Passes signals on until the command has ended; hangs it up when `sudo` is gone.
async fn wait(site: &Site, mut stream: UnixStream, mut child: Child) -> io::Result<()> {
    loop {
        tokio::select! {
            ended = &mut child.end => {
                let code = ended.map_or(1, crate::reaper::Ended::code);
                let mut answer = vec![ENDED];
                answer.extend(code.to_be_bytes());
                return send(&stream, &answer, &[]).await;
            }
            number = stream.read_u8() => match number {
                Ok(number) => {
                    if let Some(signal) = Signal::from_named_raw(number.into()) {
                        site.reaper.signal(child.pid, signal, Whom::Group);
                    }
                }
                Err(_) => {
                    site.reaper.signal(child.pid, Signal::HUP, Whom::Group);
                    site.reaper.signal(child.pid, Signal::CONT, Whom::Group);
                    return Ok(());
                }
            }
        }
    }
}

async fn refuse(stream: &UnixStream, why: &str) -> io::Result<()> {
    let mut answer = vec![REFUSED];
    answer.extend(why.bytes());
    send(stream, &answer, &[]).await
}

/// The whole request, and what came with it.
async fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut all, mut fds) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let received = stream
            .async_io(Interest::READABLE, || passing::receive(stream, &mut buffer))
            .await?;
        if received.0 == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        all.extend_from_slice(&buffer[..received.0]);
        fds.extend(received.1);
        if let Some((length, rest)) = all.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > LARGEST || rest.len() > length || fds.len() > 3 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if rest.len() == length {
                return Ok((rest.to_vec(), fds));
            }
        }
    }
}

async fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    // Short enough for any socket's buffer: it goes whole.
    stream
        .async_io(Interest::WRITABLE, || passing::send(stream, bytes, fds))
        .await
        .map(drop)
}
