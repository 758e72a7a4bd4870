//! Pseudo-terminals: a pair of descriptors, the size, and who is in the foreground.
//!
//! The agent holds the controlling side; a command gets the terminal side as its stdin, stdout and stderr and, through
//! [`crate::session::prepare`], as its controlling terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, SpecialCodeIndex, Winsize};

/// Both sides of a new pseudo-terminal, close-on-exec.
#[derive(Debug)]
pub struct Pty {
    /// The side of the one who controls: reads what the command writes.
    pub controller: OwnedFd,
    /// The terminal the command sees.
    pub terminal: OwnedFd,
}

/// Opens a pseudo-terminal of `columns` by `rows` characters (0: the kernel's "unknown").
///
/// The terminal side is opened by `TIOCGPTPEER` (ioctl_tty(2)), so it needs no path below /dev/pts.
///
/// # Errors
/// When /dev/ptmx is missing or no pseudo-terminal is left.
pub fn open(columns: u16, rows: u16) -> io::Result<Pty> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    let terminal = ioctl_tiocgptpeer(
        &controller,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    resize(&controller, columns, rows)?;
    Ok(Pty {
        controller,
        terminal,
    })
}

/// Sets the size in characters; the foreground process group gets SIGWINCH when it changed.
///
/// # Errors
/// When `terminal` is no terminal.
pub fn resize(terminal: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}

/// Sends `signal` to the process group in the foreground of the terminal behind `controller`.
///
/// # Errors
/// When there is no foreground process group (any more).
pub fn signal_foreground(controller: impl AsFd, signal: Signal) -> io::Result<()> {
    let group: Pid = rustix::termios::tcgetpgrp(controller)?;
    Ok(rustix::process::kill_process_group(group, signal)?)
}

/// The character that means end-of-file to readers of this terminal, `None` while it is in raw mode (termios(3), VEOF).
///
/// # Errors
/// When `terminal` is no terminal.
pub fn end_of_file(terminal: impl AsFd) -> io::Result<Option<u8>> {
    let modes = rustix::termios::tcgetattr(terminal)?;
    Ok(modes
        .local_modes
        .contains(LocalModes::ICANON)
        .then(|| modes.special_codes[SpecialCodeIndex::VEOF]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::tcgetwinsize;

    #[test]
    fn both_sides_share_the_size() {
        let pty = open(132, 43).unwrap();
        let size = tcgetwinsize(&pty.terminal).unwrap();
        assert_eq!((size.ws_col, size.ws_row), (132, 43));
        resize(&pty.controller, 80, 24).unwrap();
        let size = tcgetwinsize(&pty.terminal).unwrap();
        assert_eq!((size.ws_col, size.ws_row), (80, 24));
    }

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let pty = open(80, 24).unwrap();
        rustix::io::write(&pty.controller, b"hello\n").unwrap();
        let mut buffer = [0_u8; 64];
        let length = rustix::io::read(&pty.terminal, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"hello\n");
    }

    #[test]
    fn a_raw_terminal_has_no_end_of_file() {
        let pty = open(80, 24).unwrap();
        assert_eq!(end_of_file(&pty.controller).unwrap(), Some(4));
        let mut modes = rustix::termios::tcgetattr(&pty.terminal).unwrap();
        modes.make_raw();
        rustix::termios::tcsetattr(&pty.terminal, rustix::termios::OptionalActions::Now, &modes)
            .unwrap();
        assert_eq!(end_of_file(&pty.controller).unwrap(), None);
    }
}
