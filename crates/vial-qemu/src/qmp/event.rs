//! What happens to a machine, told by itself. Names and fields: QEMU's qapi/run-state.json and qapi/char.json.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, by the host's clock.
    pub when: SystemTime,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// The machine has ended, and QEMU with it, unless it was told to stay.
    Shutdown(ShutdownReason),
    /// The machine starts anew.
    Reset(ShutdownReason),
    /// It was asked to switch itself off.
    Powerdown,
    /// Its processors stand still.
    Stop,
    /// They go on.
    Resume,
    /// The guest's kernel has panicked (needs a pvpanic device, or a kernel that tells).
    GuestPanicked,
    /// Somebody in the guest has opened or closed a virtio-serial port.
    SerialPort {
        /// The device's id on QEMU's command line.
        id: String,
        /// Is it open?
        open: bool,
    },
    /// Another one.
    Other {
        /// Its name: `DEVICE_DELETED`.
        name: String,
        /// What QEMU tells of it.
        data: Value,
    },
}

/// Who ended or reset a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShutdownReason {
    /// The guest switched itself off.
    GuestShutdown,
    /// The guest wanted to start anew: a reboot, or a kernel panic with `panic=-1`.
    GuestReset,
    /// The guest panicked, and QEMU ends for it.
    GuestPanic,
    /// `quit` over QMP.
    Quit,
    /// `system_reset` over QMP.
    SystemReset,
    /// A signal to QEMU.
    Signal,
    /// Another one, in QEMU's word.
    Other(String),
}

#[derive(Debug, Deserialize)]
pub(super) struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

impl Timestamp {
    /// QEMU says -1 where there is no time.
    fn time(&self) -> Option<SystemTime> {
        let seconds = u64::try_from(self.seconds).ok()?;
        let micros = u64::try_from(self.microseconds).ok()?;
        let since = Duration::from_secs(seconds).checked_add(Duration::from_micros(micros))?;
        SystemTime::UNIX_EPOCH.checked_add(since)
    }
}

pub(super) fn read(name: String, data: Value, timestamp: Option<Timestamp>) -> Event {
    let when = timestamp.and_then(|timestamp| timestamp.time());
    let text = |field: &str| data[field].as_str().unwrap_or_default().to_owned();
    let kind = match name.as_str() {
        "SHUTDOWN" => EventKind::Shutdown(reason(&text("reason"))),
        "RESET" => EventKind::Reset(reason(&text("reason"))),
        "POWERDOWN" => EventKind::Powerdown,
        "STOP" => EventKind::Stop,
        "RESUME" => EventKind::Resume,
        "GUEST_PANICKED" => EventKind::GuestPanicked,
        "VSERPORT_CHANGE" => EventKind::SerialPort {
            id: text("id"),
            open: data["open"].as_bool().unwrap_or_default(),
        },
        _ => EventKind::Other { name, data },
    };
    Event {
        when: when.unwrap_or_else(SystemTime::now),
        kind,
    }
}

/// The words of ShutdownCause.
fn reason(word: &str) -> ShutdownReason {
    match word {
        "guest-shutdown" => ShutdownReason::GuestShutdown,
        "guest-reset" => ShutdownReason::GuestReset,
        "guest-panic" => ShutdownReason::GuestPanic,
        "host-qmp-quit" => ShutdownReason::Quit,
        "host-qmp-system-reset" => ShutdownReason::SystemReset,
        "host-signal" => ShutdownReason::Signal,
        other => ShutdownReason::Other(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shutdown_tells_who_wanted_it() {
        let data = json!({ "guest": true, "reason": "guest-reset" });
        let timestamp = Timestamp {
            seconds: 1_782_000_000,
            microseconds: 250_000,
        };
        let event = read("SHUTDOWN".into(), data, Some(timestamp));
        assert_eq!(event.kind, EventKind::Shutdown(ShutdownReason::GuestReset));
        let since = event.when.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since, Duration::from_millis(1_782_000_000_250));
    }

    #[test]
    fn a_port_tells_whether_it_is_open() {
        let data = json!({ "open": true, "id": "link" });
        let kind = read("VSERPORT_CHANGE".into(), data, None).kind;
        let id = "link".to_owned();
        assert_eq!(kind, EventKind::SerialPort { id, open: true });
    }

    #[test]
    fn unknown_words_are_kept() {
        let kind = read("RESET".into(), json!({ "reason": "snapshot-load" }), None).kind;
        let reason = ShutdownReason::Other("snapshot-load".into());
        assert_eq!(kind, EventKind::Reset(reason));
        let kind = read("RTC_CHANGE".into(), json!({ "offset": 1 }), None).kind;
        let (name, data) = ("RTC_CHANGE".into(), json!({ "offset": 1 }));
        assert_eq!(kind, EventKind::Other { name, data });
        // Nothing of what should be there.
        let kind = read("SHUTDOWN".into(), Value::Null, None).kind;
        assert_eq!(
            kind,
            EventKind::Shutdown(ShutdownReason::Other(String::new()))
        );
    }
}
