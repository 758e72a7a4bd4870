//! Who may log in: root, and the one user made for the person.
//!
//! ```text
//!  passwd, group ──► database (pure) ──► plan (pure): the account, and the lines and directories it lacks
//!                                          └──► create: writes what can be written, at the server's start
//!  login NAME ──► Accounts::find: the files as they are now, else the account that was planned
//! ```
//! Where nothing can be written (a read-only root, a server that is not root), the account exists in the server's
//! memory only: sessions get its uid, its home where there is one, and `HOME`, `USER` and `SHELL`.
//!
//! Deliberately absent: getpwnam(3). In a static program it would load the image's name service modules.

mod create;
mod database;
mod plan;

use std::path::{Path, PathBuf};

use vial_sys::session::Credentials;

pub(crate) use database::Database;
pub(crate) use plan::{Plan, Wanted, is_name, plan};

/// Somebody a session, or a command of `sudo`, runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Login name.
    pub(crate) name: String,
    /// User.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// All groups, the primary one first.
    pub(crate) groups: Vec<u32>,
    /// Home directory, which need not exist.
    pub(crate) home: PathBuf,
    /// The shell of the passwd entry, which need not exist.
    pub(crate) shell: PathBuf,
}

impl Account {
    /// Root of an image that does not say anything about root.
    pub(crate) fn root() -> Self {
        Self {
            name: "root".into(),
            uid: 0,
            gid: 0,
            groups: vec![0],
            home: "/root".into(),
            shell: "/bin/sh".into(),
        }
    }

    /// What a child has to drop to; `None` where this process runs as this account already.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        let same = self.uid == rustix::process::getuid().as_raw();
        (!same).then(|| Credentials {
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
        })
    }
}

/// The accounts of this server.
#[derive(Debug)]
pub(crate) struct Accounts {
    root: PathBuf,
    user: Option<Account>,
    /// Whether this process is root, and so can become somebody else.
    privileged: bool,
}

impl Accounts {
    /// Makes the wanted user, as far as that is possible in the file system below `root`. What was not possible is told
    /// in lines of text.
    pub(crate) fn prepare(root: &Path, wanted: &Wanted) -> (Self, Vec<String>) {
        let privileged = rustix::process::getuid().is_root();
        let (user, complaints) = if privileged && wanted.name.as_deref().unwrap_or("root") == "root"
        {
            (None, Vec::new())
        } else {
            let plan = plan(wanted, &Database::read(root), &|path| {
                crate::shell::is_program(&root.join(path.strip_prefix("/").unwrap_or(path)))
            });
            let complaints = if privileged {
                create::create(root, &plan)
            } else {
                Vec::new()
            };
            (Some(plan.account), complaints)
        };
        let accounts = Self {
            root: root.to_owned(),
            user,
            privileged,
        };
        (accounts, complaints)
    }

    /// The account of a login name, `None` when nobody of that name may log in.
    pub(crate) fn find(&self, name: &str) -> Option<Account> {
        match &self.user {
            Some(user) if user.name == name => Some(self.current(user)),
            _ if self.privileged && name == "root" => Some(self.current(&Account::root())),
            _ => None,
        }
    }

    /// Who may ask for root's rights: the user this server made, and root.
    pub(crate) fn may_become_root(&self, uid: u32) -> bool {
        self.privileged && (uid == 0 || self.user.as_ref().is_some_and(|user| user.uid == uid))
    }

    /// The files as they are now win over what was known at the start: groups and shells change.
    fn current(&self, known: &Account) -> Account {
        let found = Database::read(&self.root).find(&known.name);
        found
            .filter(|found| found.uid == known.uid)
            .unwrap_or_else(|| known.clone())
    }
}
