//! Signals by the names of the protocol (RFC 4254, 6.9 and 6.10); pure.

use russh::Sig;
use rustix::process::Signal;

/// What a client may send.
pub(super) fn from_client(signal: &Sig) -> Option<Signal> {
    Some(match signal {
        Sig::ABRT => Signal::ABORT,
        Sig::ALRM => Signal::ALARM,
        Sig::FPE => Signal::FPE,
        Sig::HUP => Signal::HUP,
        Sig::ILL => Signal::ILL,
        Sig::INT => Signal::INT,
        Sig::KILL => Signal::KILL,
        Sig::PIPE => Signal::PIPE,
        Sig::QUIT => Signal::QUIT,
        Sig::SEGV => Signal::SEGV,
        Sig::TERM => Signal::TERM,
        Sig::USR1 => Signal::USR1,
        Sig::Custom(name) if name == "USR2" => Signal::USR2,
        // What BSD's ssh sends for ~B and a terminal's status key.
        Sig::Custom(name) if name == "INFO@openssh.com" => Signal::USR1,
        Sig::Custom(_) => return None,
    })
}

/// What a client is told. Those without a name in the protocol get OpenSSH's.
pub(super) fn to_client(number: i32) -> Sig {
    let Some(signal) = Signal::from_named_raw(number) else {
        return Sig::Custom("SIG@openssh.com".into());
    };
    match signal {
        Signal::ABORT => Sig::ABRT,
        Signal::ALARM => Sig::ALRM,
        Signal::FPE => Sig::FPE,
        Signal::HUP => Sig::HUP,
        Signal::ILL => Sig::ILL,
        Signal::INT => Sig::INT,
        Signal::KILL => Sig::KILL,
        Signal::PIPE => Sig::PIPE,
        Signal::QUIT => Sig::QUIT,
        Signal::SEGV => Sig::SEGV,
        Signal::TERM => Sig::TERM,
        Signal::USR1 => Sig::USR1,
        Signal::USR2 => Sig::Custom("USR2".into()),
        _ => Sig::Custom("SIG@openssh.com".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for number in [1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
            let there = to_client(number);
            let back = from_client(&there).map(Signal::as_raw);
            assert_eq!(back, Some(number), "{there:?}");
        }
        assert!(matches!(to_client(7), Sig::Custom(name) if name == "SIG@openssh.com"));
        assert!(from_client(&Sig::Custom("WHAT".into())).is_none());
    }
}
