//! What is run for what a client asks for; pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::shell::Shell;

/// What `argv[0]` makes this program the server of file transfers.
pub(crate) const SFTP_NAME: &str = "vial-sftp";
/// How sshd_config(5) names its own one in forced commands.
const INTERNAL_SFTP: &str = "internal-sftp";

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A login shell.
    Shell,
    /// A command, for the shell to understand.
    Command(OsString),
    /// The subsystem `sftp`.
    Sftp,
}

impl Wanted {
    /// A command of any bytes.
    pub(crate) fn command(bytes: &[u8]) -> Self {
        Self::Command(OsString::from_vec(bytes.to_vec()))
    }
}

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) program: PathBuf,
    /// What it is called by.
    pub(crate) name: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// What a login that may run one command only gets, and what it asked for.
pub(crate) fn forced(wanted: Wanted, command: Option<&str>) -> (Wanted, Option<OsString>) {
    let Some(command) = command else {
        return (wanted, None);
    };
    let original = match wanted {
        Wanted::Shell => None,
        Wanted::Command(command) => Some(command),
        Wanted::Sftp => Some(INTERNAL_SFTP.into()),
    };
    if command == INTERNAL_SFTP {
        return (Wanted::Sftp, original);
    }
    (Wanted::Command(command.into()), original)
}

/// How it is run; `None` where there is no shell. `program` is this program.
pub(crate) fn invocation(
    wanted: &Wanted,
    shell: Option<&Shell>,
    program: &Path,
) -> Option<Invocation> {
    match wanted {
        Wanted::Sftp => Some(Invocation {
            program: program.to_owned(),
            name: SFTP_NAME.into(),
            arguments: Vec::new(),
        }),
        Wanted::Shell => shell.map(|shell| Invocation {
            program: shell.program.clone(),
            // The dash makes it a login shell.
            name: format!("-{}", shell.name).into(),
            arguments: Vec::new(),
        }),
        Wanted::Command(command) => shell.map(|shell| Invocation {
            program: shell.program.clone(),
            name: OsStr::new(&shell.name).to_owned(),
            arguments: vec!["-c".into(), command.clone()],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busybox() -> Shell {
        Shell {
            program: "/vial/bin/busybox".into(),
            name: "sh".into(),
        }
    }

    #[test]
    fn a_shell_is_a_login_shell_and_a_command_is_not() {
        let run = |wanted: &Wanted| {
            let run = invocation(wanted, Some(&busybox()), Path::new("/vial/bin/vial-sshd"))?;
            Some((run.program, run.name, run.arguments))
        };
        let program = PathBuf::from("/vial/bin/busybox");
        assert_eq!(
            run(&Wanted::Shell),
            Some((program.clone(), "-sh".into(), vec![]))
        );
        assert_eq!(
            run(&Wanted::command(b"echo \xff")),
            Some((
                program,
                "sh".into(),
                vec!["-c".into(), OsString::from_vec(b"echo \xff".to_vec())]
            ))
        );
    }

    #[test]
    fn files_need_no_shell() {
        let program = Path::new("/vial/bin/vial-sshd");
        assert_eq!(invocation(&Wanted::Shell, None, program), None);
        assert_eq!(
            invocation(&Wanted::Sftp, None, program).unwrap().name,
            SFTP_NAME
        );
    }

    #[test]
    fn a_forced_command_runs_whatever_was_asked_for() {
        let original = |wanted| forced(wanted, Some("id"));
        assert_eq!(
            original(Wanted::command(b"rm -rf /")),
            (Wanted::Command("id".into()), Some("rm -rf /".into()))
        );
        assert_eq!(
            original(Wanted::Shell),
            (Wanted::Command("id".into()), None)
        );
        assert_eq!(
            forced(Wanted::Shell, Some("internal-sftp")),
            (Wanted::Sftp, None)
        );
        assert_eq!(forced(Wanted::Sftp, None), (Wanted::Sftp, None));
    }
}
