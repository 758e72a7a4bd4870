//! What the kernel of a machine must be told when it goes on after a time: the time, and numbers that nobody else has.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_settime};

use crate::{During, SysError};

/// A clock that is behind by less is left alone: as much may pass on the way.
const BEHIND: Duration = Duration::from_millis(50);
/// Likewise one that is ahead: time that goes back harms those who measure.
const AHEAD: Duration = Duration::from_secs(1);

/// Sets the clock to `now`, since 1970, where it is wrong.
///
/// # Errors
/// When the kernel refuses: CAP_SYS_TIME is needed.
pub fn set_clock(now: Duration) -> Result<(), SysError> {
    let present = SystemTime::now().duration_since(UNIX_EPOCH);
    if !is_wrong(present.unwrap_or_default(), now) {
        return Ok(());
    }
    let time = Timespec {
        tv_sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: now.subsec_nanos().into(),
    };
    clock_settime(ClockId::Realtime, time).during(|| "set the clock".to_owned())
}

fn is_wrong(present: Duration, now: Duration) -> bool {
    now.saturating_sub(present) > BEHIND || present.saturating_sub(now) > AHEAD
}

/// The kernel's random numbers are others from here on: random(4), RNDADDENTROPY and RNDRESEEDCRNG.
///
/// # Errors
/// When the kernel refuses: CAP_SYS_ADMIN is needed.
pub fn reseed(entropy: &[u8; 32]) -> Result<(), SysError> {
    /// `struct rand_pool_info` of linux/random.h with room for the bytes.
    #[repr(C)]
    struct Pool {
        bits: libc::c_int,
        bytes: libc::c_int,
        entropy: [u8; 32],
    }
    // _IOW('R', 0x03, int [2]) and _IO('R', 0x07) of linux/random.h.
    const ADD: libc::Ioctl = 0x4008_5203;
    const RESEED: libc::Ioctl = 0x5207;
    let operation = || "give the kernel entropy".to_owned();
    let device = File::options()
        .write(true)
        .open("/dev/urandom")
        .during(operation)?;
    let pool = Pool {
        bits: 256,
        bytes: 32,
        entropy: *entropy,
    };
    // SAFETY: the kernel reads the head and the 32 bytes that it tells of, all of which live until it returns.
    if unsafe { libc::ioctl(device.as_raw_fd(), ADD, &raw const pool) } != 0 {
        return Err(std::io::Error::last_os_error()).during(operation);
    }
    // SAFETY: it takes no argument.
    if unsafe { libc::ioctl(device.as_raw_fd(), RESEED) } != 0 {
        return Err(std::io::Error::last_os_error()).during(operation);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_left_alone_that_is_nearly_right() {
        let now = Duration::from_secs(1_796_040_000);
        let ms = Duration::from_millis;
        for (present, wrong) in [
            (now, false),
            (now - ms(40), false),
            (now - ms(60), true),
            (Duration::ZERO, true),
            (now + ms(900), false),
            (now + ms(1_100), true),
        ] {
            assert_eq!(is_wrong(present, now), wrong, "{present:?}");
        }
    }

    #[test]
    fn the_kernel_takes_entropy() {
        if !rustix::process::geteuid().is_root() {
            return vial_testing::skip("entropy is root's to give");
        }
        reseed(&[7; 32]).unwrap();
    }
}
