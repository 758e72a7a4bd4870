//! Children in a session of their own: session, controlling terminal, user, and descriptors they must not inherit.
//!
//! `std::process::Command` covers all the rest. What is here runs between fork and exec, where only async-signal-safe
//! calls are allowed (signal-safety(7)): system calls on values made before the fork, no allocation.
#![expect(
    unsafe_code,
    reason = "code between fork and exec, and descriptors known by number only, cannot be safe"
)]

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::FdFlags;
use rustix::process::{Gid, Uid};

/// Whom a child runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Real, effective and saved user.
    pub uid: u32,
    /// Real, effective and saved group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What a child's stdin is to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// An ordinary file: the session has no controlling terminal.
    None,
    /// A terminal that nobody controls yet: it becomes the controlling terminal of the session.
    Stdin,
}

/// Makes `command` start as leader of a new session and process group (setsid(2)), and drop to `credentials` when given.
pub fn prepare(
    command: &mut Command,
    terminal: Terminal,
    credentials: Option<Credentials>,
) -> &mut Command {
    let become_session = move || -> io::Result<()> {
        rustix::process::setsid()?;
        if terminal == Terminal::Stdin {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        Ok(())
    };
    // SAFETY: the closure makes only raw system calls (rustix's linux_raw backend) on values that were made before the
    // fork; it neither allocates nor takes a lock, and an io::Error made from an errno does not allocate.
    unsafe { command.pre_exec(become_session) };
    match credentials {
        // Those are made in the order they were given.
        Some(credentials) => drop_to(command, credentials),
        None => command,
    }
}

/// Makes `command` drop to `credentials`; for one that is not to be a session of its own.
pub fn drop_to(command: &mut Command, credentials: Credentials) -> &mut Command {
    let groups: Vec<Gid> = credentials
        .groups
        .iter()
        .copied()
        .map(Gid::from_raw)
        .collect();
    let (uid, gid) = (
        Uid::from_raw(credentials.uid),
        Gid::from_raw(credentials.gid),
    );
    let drop_rights = move || -> io::Result<()> {
        // The forked child has one thread, and so has a process that becomes the program itself: the calls for a
        // thread are those for the process.
        rustix::thread::set_thread_groups(&groups)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    };
    // SAFETY: as for the closure in `prepare`: raw system calls on values that were made before the fork.
    unsafe { command.pre_exec(drop_rights) }
}

/// Marks every open descriptor from 3 up close-on-exec, so that children get none of what this process inherited.
///
/// # Errors
/// When /proc/self/fd cannot be read.
pub fn close_inherited_on_exec() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<RawFd>().ok())
        else {
            continue;
        };
        if number < 3 {
            continue;
        }
        // SAFETY: the descriptor is only borrowed for one fcntl(2); should it be closed meanwhile, the call fails with EBADF.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        if let Ok(flags) = rustix::io::fcntl_getfd(descriptor) {
            // Fails only when it was closed since.
            let _ = rustix::io::fcntl_setfd(descriptor, flags | FdFlags::CLOEXEC);
        }
    }
    Ok(())
}

/// Takes ownership of a descriptor that this process was started with, by its number.
///
/// Call it once for a number, before anything else could have opened a descriptor of that number.
///
/// # Errors
/// When no such descriptor is open, or it is one of 0, 1, 2.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: only borrowed for one fcntl(2), which fails with EBADF when it is not open.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    // SAFETY: it is open, and the caller states that it is the one inherited, which nothing in this process owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn a_child_leads_its_own_session() {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "cut -d' ' -f1,5,6 /proc/$$/stat"])
            .stdin(Stdio::null());
        let output = prepare(&mut command, Terminal::None, None)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let ids: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(ids.len(), 3, "{text}");
        assert!(
            ids.iter().all(|id| *id == ids[0]),
            "pid, process group and session differ: {text}"
        );
    }

    #[test]
    fn stdin_becomes_the_controlling_terminal() {
        let pty = crate::pty::open(80, 24).unwrap();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo seen >/dev/tty"])
            .stdin(pty.terminal)
            .stdout(Stdio::null());
        let status = prepare(&mut command, Terminal::Stdin, None)
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn a_number_that_is_not_open_is_refused() {
        assert!(take_inherited(1_000_000).is_err());
        assert!(take_inherited(1).is_err());
    }
}
