//! One session channel: what the client asks for before its command runs, and the command while it runs.
//!
//! ```text
//!  opened ──env, pty-req, auth-agent-req──► prepared ──shell, exec, subsystem──► running ──► exit-status, EOF, close
//!                                                                                  ├ window-change ──► terminal
//!                                                                                  └ signal ──► process group
//!  closed, or connection gone: terminal hung up, pipes closed; a command without a terminal may go on, as with sshd(8)
//! ```

mod command;
mod process;
mod signals;

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use russh::server::Msg;
use russh::{ChannelWriteHalf, Sig};

use crate::auth::Grant;
use crate::connection::Client;
use crate::environment::{self, Environment};
use crate::expiry::Warnings;
use crate::forward::agent::AgentSocket;
use crate::inbound::{Closed, Inbound};
use crate::reaper::Whom;
use crate::site::Site;
use crate::terminal::Terminal;
use crate::users::Account;

pub(crate) use command::Wanted;

/// Who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) account: Account,
    pub(crate) grant: Grant,
}

/// A session channel.
pub(crate) struct Session {
    write: Option<ChannelWriteHalf<Msg>>,
    environment: Environment,
    terminal: Option<Terminal>,
    agent: Option<AgentSocket>,
    running: Option<Running>,
}

/// A command that was started.
struct Running {
    pid: i32,
    controller: Option<OwnedFd>,
}

impl Session {
    pub(crate) fn new(write: ChannelWriteHalf<Msg>) -> Self {
        Self {
            write: Some(write),
            environment: Environment::new(),
            terminal: None,
            agent: None,
            running: None,
        }
    }

    /// Sets a variable; false when that is refused.
    pub(crate) fn set(&mut self, grant: &Grant, name: &str, value: &str) -> bool {
        environment::accept(&mut self.environment, grant, name, value)
    }

    /// Wants a terminal; false when that is refused.
    pub(crate) fn want_terminal(&mut self, grant: &Grant, terminal: Terminal) -> bool {
        let allowed = grant.terminal && self.running.is_none() && !terminal.name.contains('\0');
        if allowed {
            self.terminal = Some(terminal);
        }
        allowed
    }

    /// Has the agent of the client forwarded.
    pub(crate) fn use_agent(&mut self, agent: AgentSocket) {
        self.agent = Some(agent);
    }

    /// Starts what was wanted; false when there is one already, or it cannot be started.
    pub(crate) fn start(
        &mut self,
        site: &Arc<Site>,
        client: &Client,
        login: &Login,
        wanted: Wanted,
        ends: Option<(Inbound, Closed)>,
    ) -> bool {
        let (Some(write), Some(client_side)) = (self.write.take(), ends) else {
            return false;
        };
        let (wanted, original) = command::forced(wanted, login.grant.command.as_deref());
        let shell = site.shell(&login.account);
        let environment = self.whole_environment(site, client, login, original.as_deref());
        let invocation = command::invocation(&wanted, shell.as_ref(), &site.program);
        let terminal = self.terminal.take();
        // Only somebody at a terminal reads them; what a program reads must not change.
        let warnings = site.expires.filter(|_| terminal.is_some());
        let warnings = warnings.map(Warnings::new);
        let started = process::start(site, &login.account, invocation, terminal, environment);
        let handle = client.handle.clone();
        match started {
            Ok((child, ends, controller)) => {
                let pid = child.pid;
                self.running = Some(Running { pid, controller });
                // The socket lives as long as the session does.
                let agent = self.agent.take();
                tokio::spawn(async move {
                    process::serve(child, ends, client_side, write, handle, warnings).await;
                    drop(agent);
                });
            }
            Err(refusal) => {
                tokio::spawn(process::refuse(refusal, client_side.1, write, handle));
            }
        }
        true
    }

    fn whole_environment(
        &self,
        site: &Site,
        client: &Client,
        login: &Login,
        original: Option<&OsStr>,
    ) -> Environment {
        let mut whole = site.environment_of(&login.account);
        environment::of_connection(&mut whole, client.address, client.server);
        whole.extend(self.environment.clone());
        for (name, value) in &login.grant.environment {
            whole.insert(name.into(), value.into());
        }
        if let Some(terminal) = &self.terminal {
            whole.insert("TERM".into(), terminal.name.clone().into());
        }
        if let Some(agent) = &self.agent {
            whole.insert("SSH_AUTH_SOCK".into(), agent.path().into());
        }
        if let Some(original) = original {
            whole.insert("SSH_ORIGINAL_COMMAND".into(), original.into());
        }
        whole
    }

    /// The client's window has another size.
    pub(crate) fn resize(&mut self, (columns, rows): (u16, u16)) {
        if let Some(terminal) = &mut self.terminal {
            terminal.size = (columns, rows);
        }
        if let Some(controller) = self
            .running
            .as_ref()
            .and_then(|run| run.controller.as_ref())
        {
            // Fails when the command has ended.
            let _ = vial_sys::pty::resize(controller, columns, rows);
        }
    }

    /// The client sends a signal to the command.
    pub(crate) fn signal(&self, site: &Site, grant: &Grant, signal: &Sig) {
        let Some(running) = self.running.as_ref().filter(|_| grant.command.is_none()) else {
            return;
        };
        if let Some(signal) = signals::from_client(signal) {
            site.reaper.signal(running.pid, signal, Whom::Group);
        }
    }
}

/// Where a session begins: the home, where there is one.
pub(crate) fn directory(account: &Account) -> &Path {
    if account.home.is_dir() {
        &account.home
    } else {
        Path::new("/")
    }
}
