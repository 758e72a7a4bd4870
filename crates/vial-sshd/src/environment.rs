//! The environment of sessions; pure.
//!
//! It is the container's own (what the image and the pod say), then the account's, then the connection's, then what the
//! client sets.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::auth::Grant;
use crate::users::Account;

/// Where programs are looked for in an image that does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What one client may set: variables, and bytes of all together.
const MOST: usize = 256;
const MOST_BYTES: usize = 64 * 1024;

/// Names and values.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// Directories with programs beside the image's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tools {
    /// Where `sudo` is.
    pub(crate) programs: Option<PathBuf>,
    /// Whether those win over the image's: where its setuid programs cannot work.
    pub(crate) first: bool,
    /// Where busybox's applets are.
    pub(crate) applets: Option<PathBuf>,
}

/// What the container has, and the account adds to it.
pub(crate) fn of_account(
    container: &Environment,
    account: &Account,
    shell: Option<&Path>,
    tools: &Tools,
) -> Environment {
    let mut environment = container.clone();
    // Those of whoever started the server.
    for name in ["PWD", "OLDPWD", "SHLVL", "_", "TERM"] {
        environment.remove(OsStr::new(name));
    }
    let path = path(container.get(OsStr::new("PATH")), tools);
    let shell = shell.unwrap_or(&account.shell);
    for (name, value) in [
        ("HOME", account.home.as_os_str()),
        ("USER", OsStr::new(&account.name)),
        ("LOGNAME", OsStr::new(&account.name)),
        ("SHELL", shell.as_os_str()),
        ("PATH", &path),
    ] {
        environment.insert(name.into(), value.into());
    }
    environment
}

fn path(container: Option<&OsString>, tools: &Tools) -> OsString {
    let usual = container.map_or(OsStr::new(PATH), OsString::as_os_str);
    let programs = tools.programs.as_deref().map(Path::as_os_str);
    let applets = tools.applets.as_deref().map(Path::as_os_str);
    let parts = if tools.first {
        [programs, Some(usual), applets]
    } else {
        [Some(usual), programs, applets]
    };
    let parts: Vec<&OsStr> = parts.into_iter().flatten().collect();
    parts.join(OsStr::new(":"))
}

/// `SSH_CLIENT` and `SSH_CONNECTION`, as sshd(8) sets them.
pub(crate) fn of_connection(environment: &mut Environment, client: SocketAddr, server: SocketAddr) {
    let (from, to) = (client.ip().to_canonical(), server.ip().to_canonical());
    let (from_port, to_port) = (client.port(), server.port());
    environment.insert(
        "SSH_CLIENT".into(),
        format!("{from} {from_port} {to_port}").into(),
    );
    environment.insert(
        "SSH_CONNECTION".into(),
        format!("{from} {from_port} {to} {to_port}").into(),
    );
}

/// Takes a variable from a client, or refuses it. A login that may run one command only must not change what that does.
pub(crate) fn accept(set: &mut Environment, grant: &Grant, name: &str, value: &str) -> bool {
    let mut characters = name.chars();
    let good = characters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !value.contains('\0');
    let harmless =
        ["LANG", "TERM", "COLORTERM", "NO_COLOR", "TZ"].contains(&name) || name.starts_with("LC_");
    let bytes: usize = set
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let room = set.len() < MOST && bytes + name.len() + value.len() <= MOST_BYTES;
    let accepted = good && room && (grant.command.is_none() || harmless);
    if accepted {
        set.insert(name.into(), value.into());
    }
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(command: Option<&str>) -> Grant {
        Grant {
            key: String::new(),
            command: command.map(str::to_owned),
            environment: Vec::new(),
            terminal: true,
            forwarding: true,
            agent: true,
        }
    }

    #[test]
    fn the_container_s_variables_stay_and_the_account_s_win() {
        let container = Environment::from([
            ("HOME".into(), "/somewhere".into()),
            ("PATH".into(), "/opt/bin:/bin".into()),
            ("COLOUR".into(), "blue".into()),
            ("SHLVL".into(), "7".into()),
        ]);
        let tools = Tools {
            programs: Some("/vial/bin".into()),
            first: false,
            applets: Some("/vial/applets".into()),
        };
        let made = of_account(&container, &Account::root(), None, &tools);
        let value = |name: &str| made.get(OsStr::new(name)).and_then(|value| value.to_str());
        assert_eq!(value("HOME"), Some("/root"));
        assert_eq!(value("COLOUR"), Some("blue"));
        assert_eq!(value("SHLVL"), None);
        assert_eq!(value("PATH"), Some("/opt/bin:/bin:/vial/bin:/vial/applets"));
        let first = Tools {
            first: true,
            ..tools
        };
        let made = of_account(&Environment::new(), &Account::root(), None, &first);
        let path = made[OsStr::new("PATH")].to_str().unwrap().to_owned();
        assert!(path.starts_with("/vial/bin:/usr/local/sbin:"), "{path}");
    }

    #[test]
    fn addresses_are_written_as_sshd_does() {
        let mut environment = Environment::new();
        let client = "[::ffff:10.0.0.9]:4242".parse().unwrap();
        of_connection(
            &mut environment,
            client,
            "[::ffff:10.0.0.1]:22".parse().unwrap(),
        );
        assert_eq!(environment[OsStr::new("SSH_CLIENT")], "10.0.0.9 4242 22");
        assert_eq!(
            environment[OsStr::new("SSH_CONNECTION")],
            "10.0.0.9 4242 10.0.0.1 22"
        );
    }

    #[test]
    fn clients_set_what_is_a_variable() {
        let mut set = Environment::new();
        assert!(accept(&mut set, &grant(None), "FOO_1", "bar"));
        for (name, value) in [("", "x"), ("1A", "x"), ("A=B", "x"), ("A", "x\0y")] {
            assert!(!accept(&mut set, &grant(None), name, value), "{name}");
        }
        assert!(!accept(
            &mut set,
            &grant(None),
            "BIG",
            &"x".repeat(MOST_BYTES)
        ));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn a_forced_command_is_not_changed() {
        let mut set = Environment::new();
        assert!(!accept(&mut set, &grant(Some("id")), "LD_PRELOAD", "x"));
        assert!(accept(&mut set, &grant(Some("id")), "LC_ALL", "C"));
    }
}
