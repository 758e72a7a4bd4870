//! Real Kubernetes clusters that are sealed, disposable and freezable on one Linux machine.
//!
//! One static program in several roles, taken from the name it is called by:
//!
//! | called as | is |
//! |---|---|
//! | `vial` | the command line, this crate |
//! | `vial-keeper` | the service process of one cluster |
//! | `vial-init` | the first process of a sandbox |
//! | `vial-container` | what makes a container's namespaces and becomes its PID 1 |
//! | `vial-agent` | PID 1 of a node's container |
//! | `vial-link` | what carries connections into a virtual machine |
//! | `vial-machine` | PID 1 of a node, or of a sandbox, that is a virtual machine |
//! | `vial-hold` | what writes down who it is and becomes the QEMU of a sandbox |
//! | `vial-sshd` | the ssh server of a pod |
//! | `vial-sftp` | what it starts for a file transfer |
//! | `sudo` | what its user becomes root by |
//!
//! The role is taken before anything else happens: those that make namespaces must not have threads yet.

mod agent;
mod arrive;
mod cli;
mod commands;
mod context;
mod copy;
mod diagnose;
mod doctor;
mod error;
mod follow;
mod image;
mod interrupt;
mod kubeconfig;
mod logs;
mod machine;
mod near;
mod node_name;
mod output;
mod pods;
mod replace;
mod ssh;
mod terminal;
mod ui;
mod wanted;
mod when;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;
use vial_engine::paths::Paths;

use crate::cli::Cli;
use crate::context::Context;
use crate::error::{Error, Exit};
use crate::ui::Ui;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match role(&name) {
        Role::CommandLine => command_line(),
        Role::Keeper => vial_keeper::main(std::env::args_os()),
        Role::Init => vial_node::init::main(),
        Role::Container => vial_node::container::launcher_main(),
        Role::Agent => vial_agent::main(),
        Role::Hold => vial_sandbox::hold(),
        Role::Link => vial_link::main(),
        Role::Machine => vial_guest::main(),
        Role::Qemu => vial_qemu::start::main(),
        Role::Sshd => vial_sshd::main(),
        Role::Sftp => vial_sshd::sftp_main(),
        Role::Sudo => vial_sshd::sudo_main(),
    }
}

/// What this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    CommandLine,
    Keeper,
    Init,
    Container,
    Agent,
    Hold,
    Link,
    Machine,
    Qemu,
    Sshd,
    Sftp,
    Sudo,
}

/// By the file name of `argv[0]`; every other name is the command line.
fn role(argv0: &OsStr) -> Role {
    match Path::new(argv0).file_name().and_then(OsStr::to_str) {
        Some("vial-keeper") => Role::Keeper,
        Some("vial-init") => Role::Init,
        Some("vial-container") => Role::Container,
        Some("vial-agent") => Role::Agent,
        Some("vial-hold") => Role::Hold,
        Some("vial-link") => Role::Link,
        Some("vial-machine") => Role::Machine,
        Some("vial-qemu") => Role::Qemu,
        Some("vial-sshd") => Role::Sshd,
        Some("vial-sftp") => Role::Sftp,
        Some("sudo") => Role::Sudo,
        _ => Role::CommandLine,
    }
}

fn command_line() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    log(global.verbose);
    let context = Context {
        ui: Ui::new(global.quiet, global.color),
        paths: Paths::from_env(),
        root: rustix::process::geteuid().is_root(),
    };
    let code = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let result = match context.paths.check() {
                Ok(()) => runtime.block_on(commands::run(&context, command)),
                Err(error) => Err(error.into()),
            };
            // A thread that still reads the terminal must not hold the process back.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Error::caused("cannot start", error)),
    };
    match code {
        Ok(Exit(code)) => ExitCode::from(code),
        Err(error) => {
            context.ui.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Logs go to standard error, and only when they are wanted: VIAL_LOG, or -v.
fn log(verbose: u8) {
    let wanted = std::env::var("VIAL_LOG")
        .ok()
        .filter(|wanted| !wanted.is_empty())
        .or(match verbose {
            0 => None,
            1 => Some("info,hyper=warn,h2=warn".to_owned()),
            2 => Some("debug,hyper=info,h2=info".to_owned()),
            _ => Some("trace".to_owned()),
        });
    if let Some(wanted) = wanted {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter(EnvFilter::new(wanted))
            .init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_in_the_name() {
        for (name, expected) in [
            ("vial", Role::CommandLine),
            ("/usr/local/bin/vial", Role::CommandLine),
            ("vial-keeper", Role::Keeper),
            ("/proc/self/fd/3/vial-init", Role::Init),
            ("vial-container", Role::Container),
            ("/usr/bin/vial-agent", Role::Agent),
            ("vial-hold", Role::Hold),
            ("/vial/bin/vial-link", Role::Link),
            ("vial-machine", Role::Machine),
            ("/vial/bin/vial-sshd", Role::Sshd),
            ("vial-sftp", Role::Sftp),
            ("/usr/local/bin/sudo", Role::Sudo),
            ("vial-keeper-2", Role::CommandLine),
            ("", Role::CommandLine),
        ] {
            assert_eq!(role(OsStr::new(name)), expected, "{name}");
        }
    }
}
