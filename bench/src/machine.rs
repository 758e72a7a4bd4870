//! The machine a race runs on, in one line.

use std::fmt;
use std::fs;

/// What has to be known to read a figure.
#[derive(Debug, Clone)]
pub struct Machine {
    cores: usize,
    memory_kib: u64,
    kernel: String,
    load: String,
}

impl Machine {
    /// This machine, now (proc_loadavg(5), proc_meminfo(5)).
    #[must_use]
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let meminfo = read("/proc/meminfo");
        let memory = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_kib: memory
                .and_then(|text| text.split_whitespace().next()?.parse().ok())
                .unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg")
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores, {} GiB, Linux {}, load before the run: {}",
            self.cores,
            self.memory_kib >> 20,
            self.kernel,
            self.load
        )
    }
}
