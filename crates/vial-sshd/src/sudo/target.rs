//! What a request runs: the user, the program, its environment. Used by the server, and by `sudo` where it is root.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Request;
use crate::environment::Environment;
use crate::shell::{self, Shell};
use crate::site;
use crate::users::{Account, Database};

/// Who asks.
pub(super) struct Asker {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The user a request means; the error is a line for the person.
pub(super) fn account(request: &Request) -> Result<Account, String> {
    let database = Database::read(Path::new("/"));
    let name = request.user.to_string_lossy();
    let found = match name.strip_prefix('#').map(str::parse::<u32>) {
        Some(Ok(uid)) => database.find_uid(uid).or_else(|| {
            Some(Account {
                name: uid.to_string(),
                uid,
                gid: uid,
                groups: vec![uid],
                home: "/".into(),
                shell: "/bin/sh".into(),
            })
        }),
        _ => database.find(&name),
    };
    found
        .or_else(|| (name == "root").then(Account::root))
        .ok_or_else(|| format!("unknown user {name}"))
}

/// The command, without its descriptors and its user; the error is a line for the person.
pub(super) fn command(
    request: &Request,
    account: &Account,
    shell: Option<Shell>,
    mut environment: Environment,
    asker: &Asker,
) -> Result<Command, String> {
    environment.extend(request.environment.iter().cloned());
    let by = Database::read(Path::new("/")).find_uid(asker.uid);
    let by = by.map_or_else(|| asker.uid.to_string(), |user| user.name);
    for (name, value) in [
        ("SUDO_USER", by),
        ("SUDO_UID", asker.uid.to_string()),
        ("SUDO_GID", asker.gid.to_string()),
    ] {
        environment.insert(name.into(), value.into());
    }
    let directory = directory(request, account);
    let path = environment
        .get(OsStr::new("PATH"))
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default();
    let shell = if request.login || request.shell {
        Some(shell.ok_or("this image has no shell, and there is no busybox")?)
    } else {
        None
    };
    let mut command = match (shell, request.command.split_first()) {
        (Some(shell), _) => {
            let mut command = Command::new(&shell.program);
            let dash = if request.login { "-" } else { "" };
            command.arg0(format!("{dash}{}", shell.name));
            if !request.command.is_empty() {
                command.arg("-c").arg(quoted(&request.command));
            }
            command
        }
        (None, Some((name, arguments))) => {
            let program = find(name, &path, &directory)
                .ok_or_else(|| format!("{}: command not found", name.display()))?;
            let mut command = Command::new(program);
            command.arg0(name).args(arguments);
            command
        }
        (None, None) => return Err("nothing to run".into()),
    };
    command.current_dir(directory).env_clear().envs(environment);
    Ok(command)
}

fn find(name: &OsStr, path: &str, directory: &Path) -> Option<PathBuf> {
    match name.to_str() {
        Some(name) => site::find_program(name, path, directory),
        None => {
            let program = directory.join(name);
            shell::is_program(&program).then_some(program)
        }
    }
}

fn directory(request: &Request, account: &Account) -> PathBuf {
    let wanted = if request.login {
        account.home.clone()
    } else {
        PathBuf::from(&request.directory)
    };
    if wanted.is_absolute() && wanted.is_dir() {
        wanted
    } else {
        "/".into()
    }
}

/// Words as one line for a shell, as sudo makes it: all but plain characters behind a backslash.
fn quoted(words: &[OsString]) -> OsString {
    let mut line = Vec::new();
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            line.push(b' ');
        }
        for byte in word.as_bytes() {
            if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"_-$".contains(byte) {
                line.push(b'\\');
            }
            line.push(*byte);
        }
    }
    OsStr::from_bytes(&line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell_are_quoted_as_sudo_does() {
        let words = ["echo".into(), "a b;c".into(), "$HOME".into()];
        assert_eq!(quoted(&words), "echo a\\ b\\;c $HOME");
    }

    #[test]
    fn users_by_name_and_by_number() {
        let of = |user: &str| {
            account(&Request {
                user: user.into(),
                ..Request::default()
            })
        };
        assert_eq!(of("root").unwrap().uid, 0);
        assert_eq!(of("#4242").unwrap().uid, 4242);
        assert!(of("no such user").unwrap_err().contains("unknown user"));
    }
}
