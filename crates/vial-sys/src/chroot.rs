//! Running a program in another root directory, in namespaces of its own, for the time of that program.
//!
//! Made for setting up a root file system: maintainer scripts of packages run here, unable to reach the machine's mounts,
//! processes, network or host name.
//!
//! ```text
//! caller ─ spawn ─► waiter ─ fork ─► PID 1 ─ fork ─► the program
//!                   new mount, pid,  reaps           mounts, chroot, exec
//!                   net, uts, ipc
//! ```
//!
//! The waiter ends with the program's exit code (128 + signal when it was killed). When the caller, the waiter or PID 1
//! dies, all of it dies; when the program ends, the kernel kills what it left running. The mounts live in a namespace
//! that ends then, too: nothing is ever to be unmounted.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use crate::SysError;

/// Device nodes of the host that the program sees in its /dev.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// A root directory to run programs in.
///
/// Inside, /proc, /dev, /tmp and /run are fresh and leave nothing behind; those directories must exist in the root.
#[derive(Debug, Clone)]
pub struct Chroot {
    root: PathBuf,
    overlay: Option<Overlay>,
    binds: Vec<(PathBuf, String)>,
}

#[derive(Debug, Clone)]
struct Overlay {
    lower: PathBuf,
    upper: PathBuf,
    work: PathBuf,
}

impl Chroot {
    /// A directory that is written to directly.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            overlay: None,
            binds: Vec::new(),
        }
    }

    /// `lower` seen through an overlay that puts every change into `upper`; `work` is an empty directory beside it and
    /// `mount_point` any directory.
    pub fn overlay(
        mount_point: impl Into<PathBuf>,
        lower: impl Into<PathBuf>,
        upper: impl Into<PathBuf>,
        work: impl Into<PathBuf>,
    ) -> Self {
        let overlay = Overlay {
            lower: lower.into(),
            upper: upper.into(),
            work: work.into(),
        };
        Self {
            root: mount_point.into(),
            overlay: Some(overlay),
            binds: Vec::new(),
        }
    }

    /// Shows a directory of the host read-only at `/run/NAME`.
    #[must_use]
    pub fn show(mut self, source: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        self.binds.push((source.into(), name.into()));
        self
    }

    /// A command that runs inside. Working directory, session and umask (022) are set; the environment is the caller's
    /// unless it clears it.
    ///
    /// # Errors
    /// When a path cannot be given to the kernel. What the kernel refuses shows when the command is spawned; stderr then
    /// says which step it was.
    pub fn command(&self, program: &str) -> Result<Command, SysError> {
        let steps = self.plan()?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed. `enter` and what it calls make bare
        // system calls on C strings prepared above, and neither allocate nor take locks.
        unsafe { command.pre_exec(move || enter(&steps)) };
        Ok(command)
    }

    /// What is to be done inside the new namespaces, in order.
    fn plan(&self) -> Result<Vec<Step>, SysError> {
        let mut plan = Plan::default();
        if let Some(Overlay { lower, upper, work }) = &self.overlay {
            for path in [lower, upper, work] {
                if path
                    .as_os_str()
                    .as_bytes()
                    .iter()
                    .any(|byte| b",:\\".contains(byte))
                {
                    return Err(SysError::other(
                        "plan an overlay",
                        format!(
                            "{} has a comma, a colon or a backslash in it",
                            path.display()
                        ),
                    ));
                }
            }
            let data = format!(
                "lowerdir={},upperdir={},workdir={}",
                lower.display(),
                upper.display(),
                work.display()
            );
            plan.mount("overlay", &self.root, MountFlags::empty(), &data)?;
        }
        plan.mount(
            "proc",
            &self.root.join("proc"),
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
            "",
        )?;
        plan.mount(
            "tmpfs",
            &self.root.join("tmp"),
            MountFlags::NOSUID | MountFlags::NODEV,
            "mode=1777",
        )?;
        plan.mount(
            "tmpfs",
            &self.root.join("run"),
            MountFlags::NOSUID | MountFlags::NODEV,
            "mode=755",
        )?;
        let dev = self.root.join("dev");
        plan.mount("tmpfs", &dev, MountFlags::NOSUID, "mode=755")?;
        for device in DEVICES {
            plan.add("create a device's place in", &dev.join(device), Act::File)?;
            plan.bind(&Path::new("/dev").join(device), &dev.join(device), false)?;
        }
        for (name, target) in [
            ("fd", c"/proc/self/fd"),
            ("stdin", c"/proc/self/fd/0"),
            ("stdout", c"/proc/self/fd/1"),
            ("stderr", c"/proc/self/fd/2"),
        ] {
            plan.add("link", &dev.join(name), |link| Act::Link(target, link))?;
        }
        for (source, name) in &self.binds {
            let target = self.root.join("run").join(name);
            plan.add("create", &target, Act::Directory)?;
            plan.bind(source, &target, true)?;
        }
        plan.add("enter", &self.root, Act::Root)?;
        Ok(plan.0)
    }
}

/// One system call (or two) with all it needs prepared, and what to say when it fails.
#[derive(Debug)]
struct Step {
    what: String,
    act: Act,
}

#[derive(Debug)]
enum Act {
    Mount {
        kind: CString,
        target: CString,
        flags: MountFlags,
        data: CString,
    },
    Bind {
        source: CString,
        target: CString,
        read_only: bool,
    },
    Directory(CString),
    File(CString),
    Link(&'static CStr, CString),
    Root(CString),
}

#[derive(Default)]
struct Plan(Vec<Step>);

impl Plan {
    fn add(
        &mut self,
        what: &str,
        path: &Path,
        act: impl FnOnce(CString) -> Act,
    ) -> Result<(), SysError> {
        let target = c_string(path)?;
        self.0.push(Step {
            what: format!("cannot {what} {}\n", path.display()),
            act: act(target),
        });
        Ok(())
    }

    fn mount(
        &mut self,
        kind: &str,
        target: &Path,
        flags: MountFlags,
        data: &str,
    ) -> Result<(), SysError> {
        let (kind_c, data) = (c_string(Path::new(kind))?, c_string(Path::new(data))?);
        self.add(&format!("mount {kind} on"), target, |target| Act::Mount {
            kind: kind_c,
            target,
            flags,
            data,
        })
    }

    fn bind(&mut self, source: &Path, target: &Path, read_only: bool) -> Result<(), SysError> {
        let source_c = c_string(source)?;
        self.add(&format!("bind {} to", source.display()), target, |target| {
            Act::Bind {
                source: source_c,
                target,
                read_only,
            }
        })
    }
}

fn c_string(path: &Path) -> Result<CString, SysError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        SysError::other(
            "plan a chroot",
            format!("{} has a zero byte in it", path.display()),
        )
    })
}

impl Step {
    fn run(&self) -> rustix::io::Result<()> {
        match &self.act {
            Act::Mount {
                kind,
                target,
                flags,
                data,
            } => rustix::mount::mount(
                kind.as_c_str(),
                target.as_c_str(),
                kind.as_c_str(),
                *flags,
                Some(data.as_c_str()),
            ),
            Act::Bind {
                source,
                target,
                read_only,
            } => {
                rustix::mount::mount_bind(source.as_c_str(), target.as_c_str())?;
                if *read_only {
                    rustix::mount::mount_remount(
                        target.as_c_str(),
                        MountFlags::BIND | MountFlags::RDONLY,
                        c"",
                    )?;
                }
                Ok(())
            }
            Act::Directory(path) => rustix::fs::mkdir(path.as_c_str(), Mode::from_raw_mode(0o755)),
            Act::File(path) => rustix::fs::open(
                path.as_c_str(),
                OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o644),
            )
            .map(drop),
            Act::Link(target, link) => rustix::fs::symlink(*target, link.as_c_str()),
            Act::Root(path) => {
                rustix::process::chroot(path.as_c_str())?;
                rustix::process::chdir(c"/")
            }
        }
    }
}

/// Runs in the child, after its fork and before its exec; returns only in the process that is to exec.
fn enter(steps: &[Step]) -> io::Result<()> {
    let die_with_parent = || rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    die_with_parent()?;
    let kinds = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWIPC;
    // SAFETY: unsafe in rustix because of `CLONE_FILES`, which is not among them.
    unsafe { rustix::thread::unshare_unsafe(kinds) }?;
    // The first fork makes PID 1 of the new namespace, the second one lets the program be an ordinary process: PID 1
    // ignores signals it has no handler for and must reap orphans, which programs do not expect to have to.
    for _ in 0..2 {
        // SAFETY: this process has one thread (it is itself fresh from fork), and both sides go on with system calls only.
        match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => die_with_parent()?,
            child => wait_for(child),
        }
    }
    rustix::process::setsid()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    rustix::mount::mount_change(
        c"/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    rustix::system::sethostname(b"localhost")?;
    for step in steps {
        if let Err(errno) = step.run() {
            // Best effort: the error itself reaches the caller through spawn().
            let _ = rustix::io::write(rustix::stdio::stderr(), step.what.as_bytes());
            return Err(errno.into());
        }
    }
    Ok(())
}

/// Reaps children until this one ends, then ends like it.
fn wait_for(child: libc::pid_t) -> ! {
    // SAFETY: this process was forked from one whose descriptors belong to Rust objects there; here no code that uses them
    // runs again. The caller learns of the program's exec by the close of one of them, so they must not stay open.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    let code = loop {
        // Not waitpid(None), which is waitpid(2) of 0: the program has left this process group.
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == child => {
                break status
                    .exit_status()
                    .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
                    .unwrap_or(255);
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => break 255,
        }
    };
    // SAFETY: ends the process at once, without running handlers that belong to the process this one was forked from.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Stdio;

    /// A root that shows the host's programs and nothing else; `None` without privilege.
    fn root() -> Option<(tempfile::TempDir, Chroot)> {
        if !rustix::process::geteuid().is_root() {
            vial_testing::skip("making namespaces takes root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["proc", "dev", "tmp", "run"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        for name in ["usr", "bin", "lib", "lib64"] {
            std::os::unix::fs::symlink(
                if name == "usr" {
                    "run/usr".to_owned()
                } else {
                    format!("run/usr/{name}")
                },
                dir.path().join(name),
            )
            .unwrap();
        }
        let chroot = Chroot::new(dir.path()).show("/usr", "usr");
        Some((dir, chroot))
    }

    fn sh(chroot: &Chroot, script: &str) -> std::process::Output {
        chroot
            .command("/bin/sh")
            .unwrap()
            .arg("-c")
            .arg(script)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    #[test]
    fn a_program_sees_only_the_root_and_itself() {
        let Some((dir, chroot)) = root() else { return };
        let output = sh(
            &chroot,
            "echo $$; cd /; echo *; hostname; cat /proc/net/dev | wc -l; echo x >/dev/null; : >/run/usr/no",
        );
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            stdout.lines().collect::<Vec<_>>(),
            ["2", "bin dev lib lib64 proc run tmp usr", "localhost", "3"]
        );
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains("Read-only file system")
        );
        assert_eq!(
            fs::read_dir(dir.path().join("dev")).unwrap().count(),
            0,
            "the mounts stay inside"
        );
    }

    #[test]
    fn ends_like_the_program_and_with_it() {
        let Some((_dir, chroot)) = root() else { return };
        assert_eq!(sh(&chroot, "exit 7").status.code(), Some(7));
        assert_eq!(sh(&chroot, "kill -9 $$").status.code(), Some(137));
        // The sleep holds stdout: output() returns only when the kernel has killed it.
        assert!(sh(&chroot, "sleep 1000 & exit 0").status.success());
    }

    #[test]
    fn names_what_is_missing() {
        let Some((dir, chroot)) = root() else { return };
        assert_eq!(
            chroot
                .command("/bin/nonesuch")
                .unwrap()
                .spawn()
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
        fs::remove_dir(dir.path().join("tmp")).unwrap();
        assert_eq!(
            chroot
                .command("/bin/true")
                .unwrap()
                .spawn()
                .unwrap_err()
                .kind(),
            io::ErrorKind::NotFound
        );
        assert!(
            Chroot::overlay("/m", "/a:b", "/u", "/w")
                .command("/bin/true")
                .is_err()
        );
    }
}
