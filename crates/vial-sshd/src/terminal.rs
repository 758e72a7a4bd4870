//! A client's terminal: its modes (RFC 4254, 8) put into the kernel's terms, and the terminal itself.
//!
//! Deliberately absent: speeds, parity and sizes of characters; a pseudo-terminal has none.

use std::io;

use russh::Pty as Mode;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios,
};
use vial_sys::pty::Pty;

/// What a client says about its terminal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terminal {
    /// `TERM`.
    pub(crate) name: String,
    /// Columns and rows.
    pub(crate) size: (u16, u16),
    /// Characters and flags, with their values.
    pub(crate) modes: Vec<(Mode, u32)>,
}

impl Terminal {
    /// Opens one like it.
    pub(crate) fn open(&self) -> io::Result<Pty> {
        let pty = vial_sys::pty::open(self.size.0, self.size.1)?;
        let mut termios = rustix::termios::tcgetattr(&pty.terminal)?;
        apply(&mut termios, &self.modes);
        rustix::termios::tcsetattr(&pty.terminal, OptionalActions::Now, &termios)?;
        Ok(pty)
    }
}

/// Columns and rows as the kernel counts them.
pub(crate) fn size(columns: u32, rows: u32) -> (u16, u16) {
    let fit = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    (fit(columns), fit(rows))
}

/// What the protocol says for "no such character"; the kernel says 0.
const NO_CHARACTER: u32 = 255;

fn apply(termios: &mut Termios, modes: &[(Mode, u32)]) {
    for (mode, value) in modes {
        let on = *value != 0;
        if let Some(index) = character(*mode) {
            let value = if *value == NO_CHARACTER { 0 } else { *value };
            termios.special_codes[index] = u8::try_from(value).unwrap_or(0);
        } else if let Some(flag) = input(*mode) {
            termios.input_modes.set(flag, on);
        } else if let Some(flag) = local(*mode) {
            termios.local_modes.set(flag, on);
        } else if let Some(flag) = output(*mode) {
            termios.output_modes.set(flag, on);
        }
    }
}

fn character(mode: Mode) -> Option<SpecialCodeIndex> {
    Some(match mode {
        Mode::VINTR => SpecialCodeIndex::VINTR,
        Mode::VQUIT => SpecialCodeIndex::VQUIT,
        Mode::VERASE => SpecialCodeIndex::VERASE,
        Mode::VKILL => SpecialCodeIndex::VKILL,
        Mode::VEOF => SpecialCodeIndex::VEOF,
        Mode::VEOL => SpecialCodeIndex::VEOL,
        Mode::VEOL2 => SpecialCodeIndex::VEOL2,
        Mode::VSTART => SpecialCodeIndex::VSTART,
        Mode::VSTOP => SpecialCodeIndex::VSTOP,
        Mode::VSUSP => SpecialCodeIndex::VSUSP,
        Mode::VREPRINT => SpecialCodeIndex::VREPRINT,
        Mode::VWERASE => SpecialCodeIndex::VWERASE,
        Mode::VLNEXT => SpecialCodeIndex::VLNEXT,
        Mode::VDISCARD => SpecialCodeIndex::VDISCARD,
        _ => return None,
    })
}

fn input(mode: Mode) -> Option<InputModes> {
    Some(match mode {
        Mode::IGNPAR => InputModes::IGNPAR,
        Mode::PARMRK => InputModes::PARMRK,
        Mode::INPCK => InputModes::INPCK,
        Mode::ISTRIP => InputModes::ISTRIP,
        Mode::INLCR => InputModes::INLCR,
        Mode::IGNCR => InputModes::IGNCR,
        Mode::ICRNL => InputModes::ICRNL,
        Mode::IUCLC => InputModes::IUCLC,
        Mode::IXON => InputModes::IXON,
        Mode::IXANY => InputModes::IXANY,
        Mode::IXOFF => InputModes::IXOFF,
        Mode::IMAXBEL => InputModes::IMAXBEL,
        Mode::IUTF8 => InputModes::IUTF8,
        _ => return None,
    })
}

fn local(mode: Mode) -> Option<LocalModes> {
    Some(match mode {
        Mode::ISIG => LocalModes::ISIG,
        Mode::ICANON => LocalModes::ICANON,
        Mode::XCASE => LocalModes::XCASE,
        Mode::ECHO => LocalModes::ECHO,
        Mode::ECHOE => LocalModes::ECHOE,
        Mode::ECHOK => LocalModes::ECHOK,
        Mode::ECHONL => LocalModes::ECHONL,
        Mode::NOFLSH => LocalModes::NOFLSH,
        Mode::TOSTOP => LocalModes::TOSTOP,
        Mode::IEXTEN => LocalModes::IEXTEN,
        Mode::ECHOCTL => LocalModes::ECHOCTL,
        Mode::ECHOKE => LocalModes::ECHOKE,
        Mode::PENDIN => LocalModes::PENDIN,
        _ => return None,
    })
}

fn output(mode: Mode) -> Option<OutputModes> {
    Some(match mode {
        Mode::OPOST => OutputModes::OPOST,
        Mode::OLCUC => OutputModes::OLCUC,
        Mode::ONLCR => OutputModes::ONLCR,
        Mode::OCRNL => OutputModes::OCRNL,
        Mode::ONOCR => OutputModes::ONOCR,
        Mode::ONLRET => OutputModes::ONLRET,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_s_modes_are_the_terminal_s() {
        let terminal = Terminal {
            name: "xterm".into(),
            size: size(132, 70_000),
            modes: vec![
                (Mode::VINTR, 7),
                (Mode::VSUSP, NO_CHARACTER),
                (Mode::VQUIT, 70_000),
                (Mode::ECHO, 0),
                (Mode::ONLCR, 0),
                (Mode::IUTF8, 1),
                (Mode::CS7, 1),
                (Mode::TTY_OP_OSPEED, 9600),
            ],
        };
        let pty = terminal.open().unwrap();
        let termios = rustix::termios::tcgetattr(&pty.terminal).unwrap();
        assert_eq!(termios.special_codes[SpecialCodeIndex::VINTR], 7);
        assert_eq!(termios.special_codes[SpecialCodeIndex::VSUSP], 0);
        assert_eq!(termios.special_codes[SpecialCodeIndex::VQUIT], 0);
        assert!(!termios.local_modes.contains(LocalModes::ECHO));
        assert!(termios.local_modes.contains(LocalModes::ICANON));
        assert!(!termios.output_modes.contains(OutputModes::ONLCR));
        assert!(termios.input_modes.contains(InputModes::IUTF8));
        let size = rustix::termios::tcgetwinsize(&pty.terminal).unwrap();
        assert_eq!((size.ws_col, size.ws_row), (132, u16::MAX));
    }
}
