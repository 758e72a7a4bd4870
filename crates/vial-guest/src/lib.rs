//! PID 1 of a virtual machine: makes a node of it and becomes its agent, or a sandbox and becomes its first process.
//!
//! ```text
//!  host                                    guest
//!  ────                                    ─────
//!  MachineSpec ─ JSON, in the initramfs ─► vial-boot ─ /run/vial/machine.json ─► vial-machine, prepare
//!                                                                                  │ name, clock, limits    identity.rs
//!                                                                                  │ mounts, cgroups        files.rs
//!                                                                                  │ modules, sysctls       kernel.rs
//!                                                                                  │ more disks, swap       disks.rs
//!                                                                                  │ network                network.rs
//!  vial-link ═════════ virtio-serial ═════════════════════════════════════════════ └ exec ─► vial-machine serve: the agent
//!                                                                                     or ─► vial-machine sandbox: init
//! ```
//! It executes itself once more because the agent and all that it starts have an environment, which a process cannot
//! safely change once it runs. The agent is the one of every container, so whoever speaks to it need not know where.
//!
//! # End
//! SIGTERM to PID 1 (`kill 1`, by way of the agent) stops the components, then switches the machine off; SIGINT starts it
//! anew. Both write back what is in memory first.
//!
//! # On failure
//! One line on the console says what could not be done, and the machine is switched off: what cannot come up is not to
//! look like something that is about to.

mod disks;
mod files;
mod identity;
mod kernel;
mod network;
mod node;
mod sandbox;
mod spec;
mod wake;

use std::convert::Infallible;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::system::{RebootCommand, reboot};
use vial_agent::Ended;
use vial_link::{PORT_NAME, VirtioPort};
use vial_sys::{During as _, SysError, error_chain};

pub use spec::{Clone, DataMount, Interface, MachineSpec, Role, Route};

/// Where the node image is in a guest, read-only.
pub const IMAGE: &str = "/vial/image";
/// Where the machine's own disk is in a guest.
pub const DATA: &str = "/vial/data";
/// Where the agent serves in a guest.
pub const AGENT_SOCKET: &str = "/run/vial/agent.sock";
/// What vial-boot executes, and how it calls it.
const PROGRAM: &str = "/vial/bin/vial";
const ROLE: &str = "vial-machine";
/// The argument of the second half: of a node, and of a sandbox.
const SERVE: &str = "serve";
const SANDBOX: &str = "sandbox";

/// Why a machine does not come up, or ends by itself.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
enum Error {
    Sys(#[from] SysError),
    Agent(#[from] vial_agent::RunError),
}

/// The role `vial-machine`: what vial-boot executes. As PID 1 it does not return.
#[must_use]
pub fn main() -> ExitCode {
    if std::process::id() != 1 {
        say("this is the first program of a virtual machine's root, and nothing else");
        return ExitCode::FAILURE;
    }
    let ended = match std::env::args_os().nth(1) {
        None => prepare().map(|never| match never {}),
        Some(half) if half == SANDBOX => sandbox::serve(),
        Some(_) => serve(),
    };
    let end = match ended {
        Ok(Ended::Terminated) => RebootCommand::PowerOff,
        Ok(Ended::Interrupted) => RebootCommand::Restart,
        Err(error) => {
            say(&error_chain(&error));
            RebootCommand::PowerOff
        }
    };
    files::settle();
    // Returning would be a kernel panic; when even this is refused, that is what is left.
    let _ = reboot(end);
    ExitCode::FAILURE
}

/// Makes a node of the machine, then executes this program for the second half.
fn prepare() -> Result<Infallible, Error> {
    let spec = MachineSpec::read(Path::new(spec::PATH))?;
    identity::assume(&spec)?;
    files::mount(&spec)?;
    identity::write_machine_id(&spec)?;
    disks::modules(&spec)?;
    kernel::set_up(&spec)?;
    disks::set_up(&spec)?;
    network::raise(&spec)?;
    let half = match spec.role {
        Role::Node => SERVE,
        Role::Sandbox => SANDBOX,
    };
    let mut second = Command::new(PROGRAM);
    second.arg0(ROLE).arg(half).env_clear().envs(&spec.env);
    Err(second.exec()).during(|| format!("execute {PROGRAM}"))?
}

fn serve() -> Result<Ended, Error> {
    let port = VirtioPort::named(PORT_NAME);
    let line = vial_link::serve(port, AGENT_SOCKET, node::Network);
    Ok(vial_agent::serve(Path::new(AGENT_SOCKET), line)?)
}

fn say(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(std::io::stderr(), "vial-machine: {text}");
}
