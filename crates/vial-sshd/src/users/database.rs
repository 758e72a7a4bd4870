//! What /etc/passwd and /etc/group say (passwd(5), group(5)); pure but for [`Database::read`].

use std::path::Path;

use super::Account;

/// The texts of both files. A missing file is an empty one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Database {
    passwd: String,
    group: String,
}

impl Database {
    /// From the texts of /etc/passwd and /etc/group.
    pub(crate) fn new(passwd: &str, group: &str) -> Self {
        Self {
            passwd: passwd.to_owned(),
            group: group.to_owned(),
        }
    }

    /// From the files below `root`.
    pub(crate) fn read(root: &Path) -> Self {
        let text = |name: &str| {
            let bytes = std::fs::read(root.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self {
            passwd: text("etc/passwd"),
            group: text("etc/group"),
        }
    }

    /// The user of a name. Lines that cannot be understood are passed over, as the C library does.
    pub(crate) fn find(&self, name: &str) -> Option<Account> {
        self.with_groups(self.users().find(|user| user.name == name)?)
    }

    /// The first user of a number.
    pub(crate) fn find_uid(&self, uid: u32) -> Option<Account> {
        self.with_groups(self.users().find(|user| user.uid == uid)?)
    }

    /// The number of a group.
    pub(crate) fn group(&self, name: &str) -> Option<u32> {
        let mut groups = self.groups();
        groups.find(|group| group.0 == name).map(|group| group.1)
    }

    /// Whether no user and no group has this number.
    pub(crate) fn is_free(&self, id: u32) -> bool {
        self.users().all(|user| user.uid != id) && self.groups().all(|group| group.1 != id)
    }

    fn with_groups(&self, mut user: Account) -> Option<Account> {
        for (_, gid, members) in self.groups() {
            if members.split(',').any(|member| member == user.name) && !user.groups.contains(&gid) {
                user.groups.push(gid);
            }
        }
        Some(user)
    }

    fn users(&self) -> impl Iterator<Item = Account> {
        self.passwd.lines().filter_map(user)
    }

    /// Name, number, members.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members] = fields[..] else {
                return None;
            };
            Some((name, gid.parse().ok()?, members))
        })
    }
}

/// One line: name:password:UID:GID:GECOS:directory:shell.
fn user(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else {
        return None;
    };
    if name.is_empty() {
        return None;
    }
    let gid = gid.parse().ok()?;
    let or = |field: &str, default: &str| if field.is_empty() { default } else { field }.into();
    Some(Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid,
        groups: vec![gid],
        home: or(home, "/"),
        shell: or(shell, "/bin/sh"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Database {
        Database::new(
            "root:x:0:0:root:/root:/bin/bash\nbroken line\n:x:5:5::/:\nann:x:1000:1000:Ann,,,:/home/ann:/bin/zsh\nsvc:x:99:98::/:\n",
            "root:x:0:\nsudo:x:27:bob,ann\nann:x:1000:ann\nbroken:x\ndocker:x:103:anna\n",
        )
    }

    #[test]
    fn a_user_has_the_groups_that_list_it() {
        let ann = database().find("ann").unwrap();
        assert_eq!((ann.uid, ann.gid, ann.groups), (1000, 1000, vec![1000, 27]));
        assert_eq!(ann.shell, Path::new("/bin/zsh"));
        assert_eq!(database().find_uid(1000).unwrap().name, "ann");
    }

    #[test]
    fn empty_fields_have_their_defaults() {
        let svc = database().find("svc").unwrap();
        assert_eq!(svc.shell, Path::new("/bin/sh"));
        assert_eq!(svc.groups, [98]);
    }

    #[test]
    fn what_is_broken_is_passed_over() {
        assert_eq!(database().find(""), None);
        assert_eq!(database().find("broken line"), None);
        assert_eq!(database().group("broken"), None);
        assert_eq!(database().group("sudo"), Some(27));
        assert!(!database().is_free(27) && !database().is_free(99) && database().is_free(1001));
    }
}
