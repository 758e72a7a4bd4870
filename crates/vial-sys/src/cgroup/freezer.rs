//! Halting all processes of a group, and of the groups below it, and letting them go on
//! (cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, `cgroup.freeze`).
//!
//! ```text
//! running ── freeze ──► freezing ── the last thread halts ──► frozen ── thaw ──► running
//!    ▲                     │ not in time
//!    └──────── thaw ───────┘
//! ```
//! A frozen process of version 1 does not even die of SIGKILL before it is thawed: whoever ends one thaws it then.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::{Group, Kind};
use crate::{During, SysError};

/// How long a thread may take to halt: one that waits for a disk halts when it is served.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a group of version 1 is tried at a time: a thread that waits for one that has halted already (vfork(2), a pipe of
/// the kernel's) never halts itself, but does so when all have gone on for a moment. runc does the same.
const TRY: Duration = Duration::from_millis(500);

/// Where a group is frozen and thawed.
enum Freezer {
    /// `freezer.state` of the controller `freezer`.
    V1(PathBuf),
    /// `cgroup.freeze` and `cgroup.events`.
    V2(PathBuf),
}

impl Group {
    /// Halts every process in it and below it, and returns when all have halted. Fine when they are already.
    ///
    /// # Errors
    /// When the machine cannot freeze groups, or when a process has not halted after twenty seconds; all of them go on then.
    pub fn freeze(&self) -> Result<(), SysError> {
        let freezer = self.freezer().ok_or_else(|| {
            let operation = format!("freeze the cgroup {}", self.path.display());
            SysError::other(operation, "this machine has no freezer")
        })?;
        let frozen = freezer.halt();
        if frozen.is_err() {
            // The first error is the one to tell.
            let _ = freezer.go_on();
        }
        frozen
    }

    /// Lets everything in it go on that was halted by [`freeze`](Self::freeze) of this very group. Fine when nothing was, or when it is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&self) -> Result<(), SysError> {
        self.freezer().map_or(Ok(()), |freezer| freezer.go_on())
    }

    /// Lets everything go on in it and in all groups below it, whoever froze them: before the end of all of it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw_all(&self) -> Result<(), SysError> {
        match self.freezer() {
            Some(Freezer::V1(directory)) => all_below(&directory, &|one| Freezer::V1(one).go_on()),
            Some(Freezer::V2(directory)) => all_below(&directory, &|one| Freezer::V2(one).go_on()),
            None => Ok(()),
        }
    }

    fn freezer(&self) -> Option<Freezer> {
        let hierarchies = &self.layout.hierarchies;
        let of_v1 = hierarchies.iter().find(|one| one.controls("freezer"));
        let of_v2 = hierarchies.iter().find(|one| one.kind == Kind::V2);
        let v1 = of_v1.map(|v1| Freezer::V1(self.directory(v1)));
        v1.or_else(|| of_v2.map(|v2| Freezer::V2(self.directory(v2))))
    }
}

impl Freezer {
    fn halt(&self) -> Result<(), SysError> {
        match self {
            Self::V1(directory) => halt_v1(&directory.join("freezer.state")),
            Self::V2(directory) => halt_v2(directory),
        }
    }

    fn go_on(&self) -> Result<(), SysError> {
        let (file, value) = match self {
            Self::V1(directory) => (directory.join("freezer.state"), "THAWED"),
            Self::V2(directory) => (directory.join("cgroup.freeze"), "0"),
        };
        match fs::write(&file, value) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            written => written.during(|| format!("thaw by {}", file.display())),
        }
    }
}

/// Asking anew is how the kernel finds out that the last thread has halted; it tells nobody.
fn halt_v1(state: &Path) -> Result<(), SysError> {
    let operation = || format!("freeze by {}", state.display());
    let began = Instant::now();
    let mut tried = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if tried.elapsed() > TRY {
            fs::write(state, "THAWED").during(operation)?;
            std::thread::sleep(Duration::from_millis(1));
            tried = Instant::now();
        }
        // Written each time: a thread that was made meanwhile is halted as well.
        fs::write(state, "FROZEN").during(operation)?;
        if fs::read_to_string(state).during(operation)?.trim() == "FROZEN" {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(late(operation()));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn halt_v2(directory: &Path) -> Result<(), SysError> {
    let operation = || format!("freeze the cgroup {}", directory.display());
    fs::write(directory.join("cgroup.freeze"), "1").during(operation)?;
    let path = directory.join("cgroup.events");
    let began = Instant::now();
    loop {
        // What changes after this is told to the poll below.
        let events = File::open(&path).during(operation)?;
        let text = fs::read_to_string(&path).during(operation)?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        let Some(left) = PATIENCE.checked_sub(began.elapsed()) else {
            return Err(late(operation()));
        };
        let mut changed = [PollFd::new(&events, PollFlags::PRI)];
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut changed, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).during(operation),
        }
    }
}

fn late(operation: String) -> SysError {
    let why = format!("a process has not halted after {} s", PATIENCE.as_secs());
    SysError::other(operation, why)
}

/// From the outside in: what is frozen by a group above goes on only with that one.
fn all_below(
    directory: &Path,
    thaw: &impl Fn(PathBuf) -> Result<(), SysError>,
) -> Result<(), SysError> {
    thaw(directory.to_owned())?;
    // Groups come and go.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all_below(&entry.path(), thaw)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::cgroup::Layout;

    /// A group with an echo in it.
    struct Lab {
        group: Group,
        echo: Child,
    }

    impl Lab {
        fn new(name: &str) -> Option<Self> {
            let path = format!("vial-test-{name}-{}", std::process::id());
            let group = Group::new(Layout::detect().unwrap(), path);
            if group.create().is_err() || group.freezer().is_none() {
                vial_testing::skip("no cgroup can be made here");
                return None;
            }
            let mut echo = Command::new("cat");
            echo.stdin(Stdio::piped()).stdout(Stdio::piped());
            let echo = echo.spawn().unwrap();
            for directory in group.directories() {
                fs::write(directory.join("cgroup.procs"), echo.id().to_string()).unwrap();
            }
            Some(Self { group, echo })
        }

        fn say(&mut self) {
            let stdin = self.echo.stdin.as_mut().unwrap();
            stdin.write_all(b"x").unwrap();
        }

        /// Did it answer within that time?
        fn answers(&self, milliseconds: u32) -> bool {
            let stdout = self.echo.stdout.as_ref().unwrap();
            let mut readable = [PollFd::new(stdout, PollFlags::IN)];
            let time = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(milliseconds) * 1_000_000,
            };
            rustix::event::poll(&mut readable, Some(&time)).unwrap() == 1
        }

        fn hear(&mut self) {
            let stdout = self.echo.stdout.as_mut().unwrap();
            stdout.read_exact(&mut [0]).unwrap();
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = self.group.thaw_all();
            let _ = self.echo.kill();
            let _ = self.echo.wait();
            let _ = self.group.remove();
        }
    }

    #[test]
    fn who_is_frozen_does_nothing_until_the_thaw() {
        let Some(mut lab) = Lab::new("freeze") else {
            return;
        };
        lab.say();
        lab.hear();
        lab.group.freeze().unwrap();
        lab.group.freeze().unwrap();
        lab.say();
        assert!(!lab.answers(50));
        lab.group.thaw().unwrap();
        lab.group.thaw().unwrap();
        lab.hear();
    }

    #[test]
    fn everything_below_goes_on_before_the_end() {
        let Some(mut lab) = Lab::new("thaw-all") else {
            return;
        };
        let below = Group::new(lab.group.layout.clone(), lab.group.path.join("below"));
        below.create().unwrap();
        for directory in below.directories() {
            fs::write(directory.join("cgroup.procs"), lab.echo.id().to_string()).unwrap();
        }
        below.freeze().unwrap();
        lab.say();
        lab.group.thaw().unwrap();
        assert!(!lab.answers(50), "only what froze it thaws it");
        lab.group.thaw_all().unwrap();
        lab.hear();
    }

    #[test]
    fn a_group_that_is_gone_is_thawed_and_cannot_be_frozen() {
        let group = Group::new(Layout::detect().unwrap(), "vial-test-never-made");
        group.thaw().unwrap();
        group.thaw_all().unwrap();
        let error = group.freeze().unwrap_err();
        assert!(
            error.line().contains("vial-test-never-made"),
            "{}",
            error.line()
        );
    }
}
