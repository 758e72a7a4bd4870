//! Which shell a session gets: the account's, else the image's best, else busybox's; pure but for [`is_program`].

use std::path::{Path, PathBuf};

use crate::users::Account;

/// Where images keep a shell, the best first.
const USUAL: [&str; 4] = ["/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh"];
/// Shells that say that nobody should log in, which here only means that the image wants none by default.
const NONE: [&str; 2] = ["nologin", "false"];

/// A shell that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shell {
    /// The program.
    pub(crate) program: PathBuf,
    /// The name it is called by: busybox takes from it what it is.
    pub(crate) name: String,
}

/// Chooses among what `exists`.
pub(crate) fn choose(
    account: &Account,
    busybox: Option<&Path>,
    exists: &dyn Fn(&Path) -> bool,
) -> Option<Shell> {
    let name = |program: &Path| {
        let name = program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let own = Some(account.shell.as_path()).filter(|shell| !NONE.contains(&name(shell).as_str()));
    let found = own
        .into_iter()
        .chain(USUAL.iter().map(Path::new))
        .find(|program| exists(program));
    match found {
        Some(program) => Some(Shell {
            name: name(program),
            program: program.to_owned(),
        }),
        None => busybox.filter(|path| exists(path)).map(|path| Shell {
            program: path.to_owned(),
            name: "sh".into(),
        }),
    }
}

/// Whether `path` is a file that may be executed.
pub(crate) fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(own: &str, there: &[&str]) -> Option<(String, String)> {
        let account = Account {
            shell: own.into(),
            ..Account::root()
        };
        let exists = |path: &Path| there.iter().any(|there| Path::new(there) == path);
        let shell = choose(&account, Some(Path::new("/vial/bin/busybox")), &exists)?;
        Some((shell.program.to_str().unwrap().into(), shell.name))
    }

    #[test]
    fn the_account_comes_first_then_the_image_then_busybox() {
        let pair = |program: &str, name: &str| Some((program.to_owned(), name.to_owned()));
        assert_eq!(
            chosen("/bin/zsh", &["/bin/sh", "/bin/zsh"]),
            pair("/bin/zsh", "zsh")
        );
        assert_eq!(
            chosen("/bin/zsh", &["/bin/sh", "/usr/bin/bash"]),
            pair("/usr/bin/bash", "bash")
        );
        assert_eq!(
            chosen("/bin/sh", &["/vial/bin/busybox"]),
            pair("/vial/bin/busybox", "sh")
        );
        assert_eq!(chosen("/bin/sh", &[]), None);
    }

    #[test]
    fn a_shell_that_refuses_is_no_shell() {
        let there = ["/usr/sbin/nologin", "/bin/false", "/bin/sh"];
        assert_eq!(chosen("/usr/sbin/nologin", &there).unwrap().1, "sh");
        assert_eq!(chosen("/bin/false", &there).unwrap().1, "sh");
    }
}
