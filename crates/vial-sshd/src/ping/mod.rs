//! `vial-sshd ping`: whether others answer, and how fast; for the mesh that `vial pod ping` draws.
//!
//! ```text
//!  targets ──all at once──► addresses ──► echo: ping socket, else raw socket ──► count × (request, answer or timeout)
//!                                    └──► connect: of tcp targets, and where neither socket is permitted
//!                                                                                   └──► a line each, in the given order
//! ```
//! The requests of one target follow each other: the next is sent when the last was answered, or given up.

mod args;
mod connect;
mod echo;
mod packet;
mod report;

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::forward::resolve::Resolver;

pub(crate) use args::{Args, Target, parse};
pub(crate) use packet::{Family, sequence};
use report::{Report, Tally};

/// What is connected to where echoes are not permitted: the ssh server of a pod.
const SSH: u16 = 22;

/// Asks all targets, and says what came of it. The code is 0 when everything was answered.
pub(crate) fn main(args: &Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let reports = runtime.block_on(all(args));
    let mut text = String::new();
    for report in &reports {
        text += &if args.json {
            report.json()
        } else {
            report.line()
        };
        text.push('\n');
    }
    let said = crate::server::say(&text);
    if reports.iter().all(Report::is_good) {
        said
    } else {
        ExitCode::FAILURE
    }
}

async fn all(args: &Args) -> Vec<Report> {
    let resolver = Resolver::default();
    let asked = args.targets.iter().enumerate().map(|(number, target)| {
        // Tells apart the echoes of several targets with one address.
        let own = u16::try_from(number).unwrap_or(u16::MAX);
        one(args, target, &resolver, own)
    });
    futures::future::join_all(asked).await
}

async fn one(args: &Args, target: &Target, resolver: &Resolver, own: u16) -> Report {
    let (how, tally) = match target {
        Target::Icmp(address) => echoed(args, *address, own).await,
        Target::Tcp { host, port } => {
            let addresses = tokio::time::timeout(args.timeout, resolver.addresses(host)).await;
            let addresses = addresses.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let tally = match addresses {
                Ok(addresses) => connected(args, &addresses, *port).await,
                Err(error) => Tally::lost(args.count, format!("cannot look {host} up: {error}")),
            };
            ("tcp", tally)
        }
    };
    Report {
        target: target.to_string(),
        how,
        tally,
    }
}

async fn echoed(args: &Args, address: IpAddr, own: u16) -> (&'static str, Tally) {
    let mut echo = match echo::Echo::new(address, own) {
        Ok(echo) => echo,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return ("tcp", connected(args, &[address], SSH).await);
        }
        Err(error) => return ("icmp", Tally::lost(args.count, error.to_string())),
    };
    let mut tally = Tally::default();
    for _ in 0..args.count {
        tally.add(timed(args.timeout, echo.ask()).await);
    }
    ("icmp", tally)
}

async fn connected(args: &Args, addresses: &[IpAddr], port: u16) -> Tally {
    let mut tally = Tally::default();
    for _ in 0..args.count {
        tally.add(timed(args.timeout, connect::connect(addresses, port)).await);
    }
    tally
}

async fn timed(
    timeout: Duration,
    asked: impl Future<Output = io::Result<Duration>>,
) -> io::Result<Duration> {
    let answered = tokio::time::timeout(timeout, asked).await;
    answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
