//! How many descriptors a process may have (getrlimit(2), `RLIMIT_NOFILE`).
//!
//! A process that holds many connections raises its soft limit to the hard one, which needs no privilege. What it starts
//! should not inherit that: programs that use select(2) break with descriptors above 1,023.

use std::sync::OnceLock;

use rustix::process::{Pid, Resource, Rlimit};

use crate::{During, SysError};

/// The limit that this process was started with.
static STARTED_WITH: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of this process to the hard one, and gives what it is now.
///
/// # Errors
/// Never in practice: raising to the hard limit is allowed to everybody.
pub fn raise_descriptors() -> Result<u64, SysError> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, raised)
        .during(|| "raise the limit of descriptors".to_owned())?;
    // The first call knows best what was inherited.
    let _ = STARTED_WITH.set(before);
    Ok(before.maximum.unwrap_or(u64::MAX))
}

/// Sets both limits of this process, for itself and all that it starts: for who is the first process of a kernel, which
/// allows very few.
///
/// # Errors
/// Without the right to raise the hard limit, or above what the kernel allows (`fs.nr_open`).
pub fn set_descriptors(limit: u64) -> Result<(), SysError> {
    let both = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    rustix::process::setrlimit(Resource::Nofile, both)
        .during(|| format!("set the limit of descriptors to {limit}"))
}

/// Gives a child the limit that this process was started with, when it was raised since.
///
/// # Errors
/// When the child is gone.
pub fn give_first_limit_to(child: u32) -> Result<(), SysError> {
    let Some(first) = STARTED_WITH.get() else {
        return Ok(());
    };
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    rustix::process::prlimit(pid, Resource::Nofile, *first)
        .during(|| format!("set the limit of descriptors of process {child}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_gets_the_limit_from_before() {
        let before = rustix::process::getrlimit(Resource::Nofile);
        let lower = Rlimit {
            current: Some(256),
            maximum: before.maximum,
        };
        rustix::process::setrlimit(Resource::Nofile, lower).unwrap();
        let now = raise_descriptors().unwrap();
        assert_eq!(Some(now), before.maximum);
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        give_first_limit_to(child.id()).unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        assert_eq!(line.split_whitespace().nth(3), Some("256"), "{line}");
    }
}
