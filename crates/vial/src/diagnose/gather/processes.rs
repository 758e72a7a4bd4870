//! The processes of a cluster, as the host sees them: by their cgroup, and so also those of a sandbox that is stuck.

use std::fmt::Write as _;
use std::fs;

/// A line for each process whose cgroup belongs to the sandbox `name`, and for the process `keeper`.
pub(super) fn of(name: &str, keeper: Option<u64>) -> String {
    let mut text = "PID PPID STATE THREADS RSS CGROUP WAITS-IN COMMAND\n".to_owned();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let mut pids: Vec<u64> = pids.collect();
    pids.sort_unstable();
    for pid in pids {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let groups = read("cgroup");
        let group = groups
            .lines()
            .filter_map(|line| line.split_once("/vial/").map(|(_, group)| group))
            .find(|group| group.split('/').next() == Some(name));
        if group.is_none() && keeper != Some(pid) {
            continue;
        }
        let status = read("status");
        let field = |name: &str| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or("-").trim().replace(char::is_whitespace, "")
        };
        let command = read("cmdline").replace('\0', " ");
        let _ = writeln!(
            text,
            "{pid} {} {} {} {} {} {} {}",
            field("PPid"),
            field("State"),
            field("Threads"),
            field("VmRSS"),
            group.unwrap_or("-"),
            read("wchan"),
            match command.trim() {
                "" => format!("[{}]", field("Name")),
                command => command.to_owned(),
            }
        );
    }
    text
}
