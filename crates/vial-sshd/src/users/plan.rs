//! Decides what the wanted user is and what the image lacks of it; pure.

use std::path::{Path, PathBuf};

use super::{Account, Database};

/// The first number that is tried for a new user, as adduser(8) does.
const FIRST_UID: u32 = 1000;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Its name; `None` is the user this process runs as.
    pub(crate) name: Option<String>,
    /// Its number; `None` is the first free one.
    pub(crate) uid: Option<u32>,
    /// Its home; `None` is /home/NAME.
    pub(crate) home: Option<PathBuf>,
    /// Its shell; `None` is the best the image has.
    pub(crate) shell: Option<PathBuf>,
    /// Whom this process runs as: user and group. Root may make and become anybody; others are who they are.
    pub(crate) own: (u32, u32),
}

/// The user, and what has to be written for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The user.
    pub(crate) account: Account,
    /// A line that /etc/passwd lacks.
    pub(crate) passwd: Option<String>,
    /// A line that /etc/group lacks.
    pub(crate) group: Option<String>,
    /// A line that /etc/shadow lacks, where that file exists: no password fits.
    pub(crate) shadow: Option<String>,
}

/// Plans the user. `has_program` says whether a path is a program of the image.
pub(crate) fn plan(
    wanted: &Wanted,
    database: &Database,
    has_program: &dyn Fn(&Path) -> bool,
) -> Plan {
    let (own_uid, own_gid) = wanted.own;
    let privileged = own_uid == 0;
    let known = match &wanted.name {
        Some(name) => database
            .find(name)
            .filter(|user| privileged || user.uid == own_uid),
        None => database.find_uid(own_uid),
    };
    if let Some(mut account) = known {
        account.home = wanted.home.clone().unwrap_or(account.home);
        account.shell = wanted.shell.clone().unwrap_or(account.shell);
        return Plan {
            account,
            passwd: None,
            group: None,
            shadow: None,
        };
    }
    let name = wanted.name.clone().unwrap_or_else(|| own_uid.to_string());
    let (uid, gid, group) = if privileged {
        let uid = wanted.uid.unwrap_or_else(|| {
            (FIRST_UID..)
                .find(|id| database.is_free(*id))
                .unwrap_or(FIRST_UID)
        });
        match database.group(&name) {
            Some(gid) => (uid, gid, None),
            None => (uid, uid, Some(format!("{name}:x:{uid}:"))),
        }
    } else {
        (own_uid, own_gid, None)
    };
    let home = wanted.home.clone().unwrap_or_else(|| {
        if privileged {
            Path::new("/home").join(&name)
        } else {
            "/".into()
        }
    });
    let shells = ["/bin/bash", "/usr/bin/bash", "/bin/sh"];
    let shell = wanted.shell.clone().unwrap_or_else(|| {
        let best = shells.iter().find(|shell| has_program(Path::new(shell)));
        best.unwrap_or(&"/bin/sh").into()
    });
    let line = format!(
        "{name}:x:{uid}:{gid}::{}:{}",
        home.display(),
        shell.display()
    );
    Plan {
        passwd: privileged.then_some(line),
        group,
        // Field 2 matches no password; the empty fields mean that nothing ever expires (shadow(5)).
        shadow: privileged.then(|| format!("{name}:*:::::::")),
        account: Account {
            name,
            uid,
            gid,
            groups: vec![gid],
            home,
            shell,
        },
    }
}

/// Whether a name can be that of a user: what adduser(8) of Debian takes, and nothing that breaks passwd(5).
pub(crate) fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    let first = characters
        .next()
        .is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    first
        && name.len() <= 32
        && characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str) -> Wanted {
        Wanted {
            name: Some(name.into()),
            ..Wanted::default()
        }
    }

    #[test]
    fn a_new_user_gets_free_numbers_and_the_best_shell() {
        let database = Database::new(
            "ubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n",
            "g:x:1001:\n",
        );
        let plan = plan(&wanted("ann"), &database, &|path| {
            path == Path::new("/bin/bash")
        });
        assert_eq!(
            plan.passwd.as_deref(),
            Some("ann:x:1002:1002::/home/ann:/bin/bash")
        );
        assert_eq!(plan.group.as_deref(), Some("ann:x:1002:"));
        assert_eq!(plan.shadow.as_deref(), Some("ann:*:::::::"));
    }

    #[test]
    fn a_user_of_the_image_stays_as_it_is() {
        let database = Database::new("node:x:1000:1000::/home/node:/bin/bash\n", "");
        let plan = plan(&wanted("node"), &database, &|_| false);
        assert_eq!((plan.passwd, plan.group, plan.shadow), (None, None, None));
        assert_eq!(plan.account.uid, 1000);
    }

    #[test]
    fn a_group_of_that_name_is_used() {
        let plan = plan(
            &wanted("staff"),
            &Database::new("", "staff:x:50:\n"),
            &|_| false,
        );
        assert_eq!(plan.group, None);
        assert_eq!((plan.account.uid, plan.account.gid), (1000, 50));
    }

    #[test]
    fn who_is_not_root_is_itself_whatever_the_name() {
        let database = Database::new("ann:x:1000:1000::/home/ann:/bin/sh\n", "");
        let mut wanted = wanted("ann");
        wanted.own = (65532, 65532);
        let plan = plan(&wanted, &database, &|_| false);
        assert_eq!((plan.account.uid, plan.passwd), (65532, None));
        let nameless = Wanted {
            own: (1000, 1000),
            ..Wanted::default()
        };
        assert_eq!(
            super::plan(&nameless, &database, &|_| false).account.name,
            "ann"
        );
    }

    #[test]
    fn names_that_break_files_are_refused() {
        assert!(is_name("ann") && is_name("_a-b.c1"));
        for name in ["", "Ann", "a:b", "a\nb", "-a", "1a", "a/b", &"a".repeat(33)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
