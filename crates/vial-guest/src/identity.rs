//! Who the machine is, what time it is there, and how much its programs may open.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};
use vial_sys::{During as _, SysError, limits, process};

use crate::spec::MachineSpec;

/// How many descriptors a process may have, as systemd has it for services with many (`LimitNOFILE=1048576`, the kernel's
/// `fs.nr_open`). The kernel's own limit for its first process is 4,096.
const DESCRIPTORS: u64 = 1_048_576;

/// Takes name, time and limits.
pub(crate) fn assume(spec: &MachineSpec) -> Result<(), SysError> {
    process::set_host_name(&spec.name)?;
    limits::set_descriptors(DESCRIPTORS)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    match later(now.unwrap_or_default(), spec.unix_ms) {
        Some(time) => clock_settime(ClockId::Realtime, time).during(|| "set the clock".to_owned()),
        None => Ok(()),
    }
}

/// What to set the clock to: the machine was planned before it was started, so it cannot be earlier than then. (How much
/// later it is the kernel knows, from the machine's own clock.)
fn later(now: Duration, planned_unix_ms: u64) -> Option<Timespec> {
    let planned = Duration::from_millis(planned_unix_ms);
    (now < planned).then(|| Timespec {
        tv_sec: i64::try_from(planned.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: planned.subsec_nanos().into(),
    })
}

/// Before anything that asks for it is started. Written anew only when it differs: it lies on the machine's disk.
pub(crate) fn write_machine_id(spec: &MachineSpec) -> Result<(), SysError> {
    let path = Path::new("/etc/machine-id");
    let text = format!("{}\n", spec.machine_id);
    if std::fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    std::fs::write(path, text).during(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_only_ever_put_forward() {
        let set = later(Duration::from_secs(3), 5_250).unwrap();
        assert_eq!((set.tv_sec, set.tv_nsec), (5, 250_000_000));
        assert!(later(Duration::from_secs(6), 5_250).is_none());
    }
}
