//! The memory of a container's processes.

use std::fs;

/// What processes hold, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// How many processes.
    pub processes: usize,
    /// Resident set sizes added up; a page that several share counts several times.
    pub rss_kib: u64,
    /// Proportional set sizes added up (proc_pid_smaps(5)).
    pub pss_kib: u64,
}

/// All processes whose cgroup path contains `part` and not `without` (cgroups(7)); pods' cgroups lie below their node's.
#[must_use]
pub fn memory(part: &str, without: &str) -> Memory {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter(|entry| {
        let cgroups = fs::read_to_string(entry.path().join("cgroup"));
        cgroups.is_ok_and(|text| text.contains(part) && !text.contains(without))
    });
    pids.fold(Memory::default(), |sum, entry| {
        // One that ends meanwhile holds nothing.
        let text = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
        Memory {
            processes: sum.processes + 1,
            rss_kib: sum.rss_kib + field(&text, "Rss:"),
            pss_kib: sum.pss_kib + field(&text, "Pss:"),
        }
    })
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_kib() {
        let text = "55d0-7ffc ---p 0 00:00 0 [rollup]\nRss:     83124 kB\nPss:      4012 kB\n";
        assert_eq!((field(text, "Rss:"), field(text, "Pss:")), (83124, 4012));
        assert_eq!(field("", "Rss:"), 0);
    }
}
