//! `vial netcat HOST PORT`.
//!
//! ```text
//! stdin ──► keeper.sock ──► HOST:PORT      its end is passed on as the end of what we send
//! stdout ◄─ keeper.sock ◄─ HOST:PORT       its end closes stdout; vial ends when both ways have, or the connection has
//! ```

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use vial_keeper::client::Tunnel;
use vial_spec::target::{Target, TargetError, TargetPort};

use crate::cli::ClusterFlag;
use crate::context::{Context, keeper_error};
use crate::error::{Code, Error, Exit, Result};
use crate::node_name::NodeName;

/// Of each direction.
const BUFFER: usize = 64 * 1024;

/// Connect standard input and output to a port in a cluster
///
/// HOST is a node, svc/NAMESPACE/NAME, pod/NAMESPACE/NAME, an address of a node, pod or service, or a name of the
/// cluster's DNS. Nothing of the host's network is used: the connection is made inside of the cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vial netcat w-1 22                             SSH-2.0-…
  printf 'GET / HTTP/1.0\\r\\n\\r\\n' | vial netcat svc/default/web http
  vial netcat web.default.svc 80                 the same, by its name inside
  vial netcat 10.96.0.1 443                      an address of a node, pod or service
  vial netcat w-1.dev.vial 22                    a node of the cluster dev")]
pub(crate) struct NetcatArgs {
    /// Where to: w-1, svc/default/web, pod/default/db-0, 10.96.0.1, web.default.svc, …
    #[arg(value_name = "HOST")]
    host: String,
    /// Its port; for Services and Pods also the port's name
    #[arg(value_name = "PORT")]
    port: String,
    #[command(flatten)]
    cluster: ClusterFlag,
}

pub(crate) async fn run(context: &Context, args: NetcatArgs) -> Result {
    context.require_owner("reach into a cluster")?;
    let bad = |error: TargetError| Error::new(Code::BadInput, error.to_string());
    let target: Target = args.host.parse().map_err(bad)?;
    let port: TargetPort = args.port.parse().map_err(bad)?;
    target.check_port(&port).map_err(bad)?;
    // `w-1.dev.vial` names its cluster: one line of an ssh configuration is enough for all.
    let name = &NodeName::parse(&args.host, &args.cluster.cluster).cluster;
    let client = context.keeper(name).await?;
    let tunnel = client
        .dial(&target, &port)
        .await
        .map_err(|error| keeper_error(name, error))?;
    // Threads of its own: a read of a terminal cannot be taken back.
    let passed = tokio::task::spawn_blocking(move || pass(tunnel)).await;
    match passed.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(()) => Ok(Exit::OK),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::output(error)),
        Err(error) => Err(Error::caused(
            format!("the connection to {target}:{port} broke"),
            error,
        )),
    }
}

/// Passes bytes both ways until both are ended.
fn pass(tunnel: Tunnel) -> io::Result<()> {
    let Tunnel { first, mut stream } = tunnel;
    stream.set_nonblocking(false)?;
    let mut sending = stream.try_clone()?;
    std::thread::spawn(move || {
        // Whoever does not take what we send has its reasons; the end of the connection tells enough.
        let _ = unbuffered(&io::stdin()).and_then(|mut stdin| copy(&mut stdin, &mut sending));
        let _ = sending.shutdown(Shutdown::Write);
    });
    let mut stdout = unbuffered(&io::stdout())?;
    stdout.write_all(&first)?;
    copy(&mut stream, &mut stdout)?;
    // The other side may read on after it said all. A person at a terminal has seen its end.
    if io::stdin().is_terminal() {
        return Ok(());
    }
    drop(stdout);
    rustix::stdio::dup2_stdout(File::open("/dev/null")?)?;
    until_hung_up(&stream)
}

/// Passes bytes on as they come, until there are no more.
///
/// [`io::copy`] would splice(2): then the kernel holds the lock of a pipe as long as it waits for the socket, and whoever
/// wants to read what is in the pipe waits as well (`splice_file_to_pipe` in fs/splice.c).
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Resolves when both ways are ended, by whom ever: unix(7) streams report POLLHUP then, and only then.
fn until_hung_up(stream: &UnixStream) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(stream, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) if fds[0].revents().is_empty() => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The descriptor itself, without Rust's buffer and lock.
fn unbuffered(stream: &impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}
