//! Users of the node, read from its own files (passwd(5), group(5)).
//!
//! Deliberately absent: getpwnam(3). In a static program it would load the host's name service modules.

use std::fs;

use vial_sys::session::Credentials;

/// Whom a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    gid: u32,
    groups: Vec<u32>,
    pub(crate) home: String,
    pub(crate) shell: String,
}

impl User {
    /// What to drop to; `None` where that is what the agent is already.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        let root = self.uid == 0 && self.gid == 0;
        (!root).then(|| Credentials {
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
        })
    }
}

/// A user of this node by name or number; empty means root, who needs no entry.
pub(crate) fn find(wanted: &str) -> Option<User> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    find_in(wanted, &passwd, &group)
}

fn find_in(wanted: &str, passwd: &str, group: &str) -> Option<User> {
    let wanted = if wanted.is_empty() { "root" } else { wanted };
    let number = wanted.parse::<u32>().ok();
    let known = passwd
        .lines()
        .filter_map(parse)
        .find(|user| user.name == wanted || Some(user.uid) == number);
    if let Some(mut user) = known {
        user.groups = groups_of(&user.name, user.gid, group);
        return Some(user);
    }
    let nameless = |uid: u32, gid: u32, home: &str| User {
        name: if uid == 0 {
            "root".to_string()
        } else {
            uid.to_string()
        },
        uid,
        gid,
        groups: vec![gid],
        home: home.to_string(),
        shell: "/bin/sh".to_string(),
    };
    match (wanted, number) {
        ("root", _) | (_, Some(0)) => Some(nameless(0, 0, "/root")),
        (_, Some(uid)) => Some(nameless(uid, uid, "/")),
        _ => None,
    }
}

/// One line of passwd(5): name:password:UID:GID:GECOS:directory:shell.
fn parse(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else {
        return None;
    };
    let or = |field: &str, default: &str| {
        if field.is_empty() {
            default.to_string()
        } else {
            field.to_string()
        }
    };
    Some(User {
        name: name.to_string(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        groups: Vec::new(),
        home: or(home, "/"),
        shell: or(shell, "/bin/sh"),
    })
}

/// The primary group, and those of group(5), name:password:GID:members, that list the user.
fn groups_of(name: &str, primary: u32, group: &str) -> Vec<u32> {
    let listed = group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields[..] else {
            return None;
        };
        members
            .split(',')
            .any(|member| member == name)
            .then(|| gid.parse::<u32>().ok())?
    });
    let mut groups = vec![primary];
    groups.extend(listed.filter(|gid| *gid != primary));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken line\nann:x:1000:1000:Ann,,,:/home/ann:/bin/zsh\nsvc:x:99:98::/:\n";
    const GROUP: &str = "root:x:0:\nsudo:x:27:bob,ann\nann:x:1000:ann\ndocker:x:103:anna\n";

    #[test]
    fn by_name_and_by_number() {
        let ann = find_in("ann", PASSWD, GROUP).unwrap();
        assert_eq!(
            (ann.uid, ann.gid, &ann.groups[..]),
            (1000, 1000, &[1000, 27][..])
        );
        assert_eq!(
            (ann.home.as_str(), ann.shell.as_str()),
            ("/home/ann", "/bin/zsh")
        );
        assert_eq!(find_in("1000", PASSWD, GROUP).unwrap(), ann);
        assert_eq!(find_in("svc", PASSWD, GROUP).unwrap().shell, "/bin/sh");
    }

    #[test]
    fn root_and_numbers_need_no_entry() {
        assert_eq!(find_in("", PASSWD, GROUP).unwrap().shell, "/bin/bash");
        assert_eq!(find_in("", "", "").unwrap().home, "/root");
        assert_eq!(find_in("0", "", "").unwrap().name, "root");
        assert_eq!(find_in("65534", "", "").unwrap().gid, 65534);
        assert_eq!(find_in("nobody", "", ""), None);
    }

    #[test]
    fn root_has_nothing_to_drop() {
        assert_eq!(find_in("", PASSWD, GROUP).unwrap().credentials(), None);
        assert!(
            find_in("ann", PASSWD, GROUP)
                .unwrap()
                .credentials()
                .is_some()
        );
    }
}
