//! What all connections of a server share: the container, its accounts, keys and tools.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::auth::Authorities;
use crate::calendar::Instant;
use crate::environment::{self, Environment, Tools};
use crate::forward::resolve::Resolver;
use crate::reaper::Reaper;
use crate::shell::{self, Shell};
use crate::users::{Account, Accounts};

/// The variable that tells `sudo` where the server listens for it.
pub(crate) const SUDO_SOCKET: &str = "VIAL_SUDO_SOCKET";

/// One server's surroundings.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) accounts: Accounts,
    pub(crate) authorities: Authorities,
    pub(crate) reaper: Reaper,
    pub(crate) resolver: Resolver,
    /// This program, for its other roles.
    pub(crate) program: PathBuf,
    pub(crate) busybox: Option<PathBuf>,
    pub(crate) tools: Tools,
    /// The container's environment.
    pub(crate) environment: Environment,
    /// When the pod is removed, where that is known.
    pub(crate) expires: Option<Instant>,
    /// Name of the abstract socket that `sudo` asks.
    pub(crate) sudo: Option<OsString>,
}

impl Site {
    /// The shell of an account, as the image is now.
    pub(crate) fn shell(&self, account: &Account) -> Option<Shell> {
        shell::choose(account, self.busybox.as_deref(), &shell::is_program)
    }

    /// What every process of an account has.
    pub(crate) fn environment_of(&self, account: &Account) -> Environment {
        let shell = self.shell(account).map(|shell| self.named(&shell));
        let mut made =
            environment::of_account(&self.environment, account, shell.as_deref(), &self.tools);
        if let Some(socket) = &self.sudo {
            made.insert(SUDO_SOCKET.into(), socket.clone());
        }
        made
    }

    /// A path at which a shell is a shell for other programs: busybox is one only by the name of its applet.
    fn named(&self, shell: &Shell) -> PathBuf {
        let applet = self.tools.applets.as_ref().map(|dir| dir.join(&shell.name));
        match applet {
            Some(applet) if Some(&shell.program) == self.busybox.as_ref() => applet,
            _ => shell.program.clone(),
        }
    }
}

/// Whether a directory of `path` has the program.
pub(crate) fn find_program(name: &str, path: &str, directory: &Path) -> Option<PathBuf> {
    if name.contains('/') {
        let program = directory.join(name);
        return shell::is_program(&program).then_some(program);
    }
    path.split(':')
        .map(|part| directory.join(part).join(name))
        .find(|program| shell::is_program(program))
}
