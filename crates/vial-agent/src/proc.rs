//! What /proc says of processes (proc_pid_stat(5)).

use std::fs;

/// The pids of the processes whose session is `leader`; zombies do not count.
pub(crate) fn session_members(leader: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        // It may end at any moment; then it is no member.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        parse_stat(&stat)
            .is_some_and(|stat| stat.session == leader && !matches!(stat.state, 'Z' | 'X'))
    })
    .collect()
}

struct Stat {
    state: char,
    session: i32,
}

/// The command's name, field 2, stands in parentheses and may contain both spaces and parentheses.
fn parse_stat(line: &str) -> Option<Stat> {
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let session = fields.nth(2)?.parse().ok()?;
    Some(Stat { state, session })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use vial_sys::session::{Terminal, prepare};

    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = parse_stat("42 (a) Z 1 (b)) S 1 40 39 0 -1 4194560").unwrap();
        assert_eq!((stat.state, stat.session), ('S', 39));
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn a_session_has_its_leader_until_it_ends() {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut leader = prepare(&mut command, Terminal::None, None).spawn().unwrap();
        let session = i32::try_from(leader.id()).unwrap();
        assert_eq!(session_members(session), [session]);
        drop(leader.stdin.take());
        leader.wait().unwrap();
        assert!(session_members(session).is_empty());
    }
}
