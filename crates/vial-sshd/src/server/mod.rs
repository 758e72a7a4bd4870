//! The server's own life: keys, socket, accounts, clients, end.
//!
//! ```text
//!  arguments ──► host keys ──► listening ──► accounts, tools, sudo ──► entry point ──► clients ──► SIGTERM, or the
//!      └ wrong: 2     └ none: 1     └ taken: 1                              └ 126, 127                entry point ended
//! ```
//! With `--detach` it takes clients in the background ([`crate::detach`]).
//!
//! Whatever is wrong is found before anything is changed. Every client is a task; one that has not logged in holds one
//! of a few places and has little time.

mod clients;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use russh::server::Config;
use russh::{MethodKind, MethodSet, SshId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{self, Args, Wish};
use crate::auth::Authorities;
use crate::detach::{self, DetachError, Mark, Ready, Side};
use crate::entry::{self, Entry};
use crate::host_keys::{self, KeyError};
use crate::site::Site;
use crate::users::{Accounts, Wanted};
use crate::{algorithms, inbound, install, ping, sudo, tools};

/// How long clients may take to hear that the server ends.
const GOODBYE: Duration = Duration::from_millis(500);
/// Where vial puts the authorities of user certificates.
const USER_CA: &str = "/vial/keys/user_ca.pub";

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    Detach(#[from] DetachError),
    #[error("cannot see whether another one serves here")]
    Mark { source: io::Error },
    #[error("cannot find this program")]
    Program { source: io::Error },
    #[error("cannot start the runtime")]
    Runtime { source: io::Error },
    #[error("cannot handle signals")]
    Signals { source: io::Error },
}

/// Runs the server with the arguments of this process.
pub(crate) fn main() -> ExitCode {
    log();
    let args = match args::parse(std::env::args_os().skip(1)) {
        Ok(Wish::Serve(args)) => *args,
        Ok(Wish::Install(directory)) => return ended(install::install(&directory).map(|()| 0)),
        Ok(Wish::Ping(args)) => return ping::main(&args),
        Ok(Wish::Help) => return say(args::HELP),
        Ok(Wish::Version) => return say(concat!("vial-sshd ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(why) => {
            tracing::error!("{why}; vial-sshd --help says more");
            return ExitCode::from(2);
        }
    };
    let ready = match args.detach.then(detach::split).transpose() {
        Ok(Some(Side::Caller(code))) => return ended(Ok::<_, DetachError>(code)),
        Ok(Some(Side::Server(ready))) => Some(ready),
        Ok(None) => None,
        Err(error) => return ended(Err(error)),
    };
    // One thread: bytes are carried and encrypted as fast as by several for one client, and an idle server is small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| ServeError::Runtime { source });
    ended(runtime.and_then(|runtime| runtime.block_on(serve(args, ready))))
}

/// Says what went wrong, and makes the code to end with.
fn ended<E: std::error::Error + 'static>(result: Result<i32, E>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)),
        Err(error) => {
            tracing::error!("{}", vial_sys::error_chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Lines to standard error. `VIAL_LOG=debug` says more, also about the protocol.
fn log() {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    let filter = match std::env::var("VIAL_LOG").as_deref() {
        Ok("debug") => Targets::new().with_default(LevelFilter::DEBUG),
        Ok("trace") => Targets::new().with_default(LevelFilter::TRACE),
        _ => Targets::new().with_target("vial_sshd", LevelFilter::INFO),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_target(false);
    // Fails only when the caller has set one up already.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .try_init();
}

/// Writes to standard output.
pub(crate) fn say(text: &str) -> ExitCode {
    use std::io::Write as _;
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Serves until the end, and returns the code to end with. Who waits for it is told when it is `ready`.
async fn serve(args: Args, ready: Option<Ready>) -> Result<i32, ServeError> {
    let _held = match (Mark::take(args.listen.port()), &ready) {
        (Ok(None), Some(_)) => {
            tracing::info!("another vial-sshd serves here already");
            return Ok(0);
        }
        (Err(source), Some(_)) => return Err(ServeError::Mark { source }),
        // Only who goes to the background has to know of others.
        (mark, _) => mark,
    };
    let config = Arc::new(config(&args, host_keys::load(&args.host_keys)?));
    let listener = listen(args.listen).await?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen {
        address: args.listen,
        source,
    })?;
    let (site, service) = site(&args)?;
    let reaping = tokio::spawn({
        let site = site.clone();
        async move { site.reaper.run().await }
    });
    if let Some(service) = service {
        tokio::spawn(service.serve(site.clone()));
    }
    let entry = match Entry::start(&site, &args.command) {
        Ok(entry) => entry,
        Err(code) => return Ok(code),
    };
    if let Some(ready) = ready {
        ready.tell()?;
    }
    tracing::info!("listening on {address}");
    let (end, ending) = watch::channel(false);
    let clients = clients::serve(&args, listener, config, site.clone(), ending);
    let until_end = async {
        match entry {
            Some(entry) => entry.attend(&site).await,
            None => entry::asked_to_end().await.map(|()| 0),
        }
    };
    let code = tokio::select! {
        code = until_end => code.map_err(|source| ServeError::Signals { source })?,
        () = clients => 0,
        reaped = reaping => match reaped {
            Ok(Err(source)) => return Err(ServeError::Signals { source }),
            _ => 1,
        },
    };
    tracing::info!("ending with code {code}");
    if end.send(true).is_ok() {
        // All who still listen to it are clients; they drop it when they are gone.
        let _ = tokio::time::timeout(GOODBYE, end.closed()).await;
    }
    Ok(code)
}

fn config(args: &Args, keys: Vec<russh::keys::PrivateKey>) -> Config {
    Config {
        server_id: SshId::Standard(concat!("SSH-2.0-vial-sshd_", env!("CARGO_PKG_VERSION")).into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // There is nothing to guess: keys are no secrets, and signatures are checked in constant time.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys,
        window_size: inbound::WIDE,
        event_buffer_size: 32,
        preferred: algorithms::offered(),
        max_auth_attempts: args.max_tries,
        // A session may be silent for days; connections that break are found by TCP.
        inactivity_timeout: None,
        nodelay: true,
        ..Config::default()
    }
}

/// Every address means both families where the container has both.
async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let result = match TcpListener::bind(address).await {
        Err(_) if address.ip().is_unspecified() && address.is_ipv6() => {
            TcpListener::bind(("0.0.0.0", address.port())).await
        }
        result => result,
    };
    result.map_err(|source| ServeError::Listen { address, source })
}

/// Makes the accounts and tools, as far as the container lets it.
fn site(args: &Args) -> Result<(Arc<Site>, Option<sudo::Service>), ServeError> {
    let program = std::env::current_exe().map_err(|source| ServeError::Program { source })?;
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let wanted = Wanted {
        name: args.user.clone(),
        uid: args.uid,
        home: args.home.clone(),
        shell: args.shell.clone(),
        own: (uid.as_raw(), gid.as_raw()),
    };
    let (accounts, complaints) = Accounts::prepare(Path::new("/"), &wanted);
    for complaint in complaints {
        tracing::warn!("{complaint}");
    }
    if !args.authorized_keys.exists() {
        tracing::warn!(
            "nobody can log in yet: no {}",
            args.authorized_keys.display()
        );
    }
    // Who can log in as root only has no need of it, and the image stays as it is.
    let for_somebody = uid.is_root() && args.user.as_deref().is_some_and(|name| name != "root");
    let service = for_somebody.then(sudo::Service::new).transpose();
    let service = service.unwrap_or_else(|error| {
        tracing::warn!("there will be no sudo: {error}");
        None
    });
    let busybox = tools::busybox(args.busybox.as_deref(), &program);
    let usual = Some(PathBuf::from(USER_CA)).filter(|path| path.exists());
    let site = Site {
        accounts,
        authorities: Authorities {
            keys: args.authorized_keys.clone(),
            user_ca: args.user_ca.clone().or(usual),
        },
        reaper: crate::reaper::Reaper::default(),
        resolver: crate::forward::resolve::Resolver::default(),
        tools: tools::prepare(&program, busybox.as_deref(), service.is_some()),
        program,
        busybox,
        environment: std::env::vars_os().collect(),
        expires: args.expires,
        sudo: service.as_ref().map(|service| service.name().to_owned()),
    };
    Ok((Arc::new(site), service))
}
