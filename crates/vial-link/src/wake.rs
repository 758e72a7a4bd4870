//! What a guest has missed while it did not run: frozen, paused, or not yet started.
//!
//! Its clock stood still, and a copy of it has the same random numbers ahead. The host tells it what time it is, and
//! gives it entropy, before anybody else reaches it; and again whenever it was halted for a moment.

use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::dial::dial;
use crate::host::OpenError;
use crate::target::{Target, TargetError};

/// As many bytes as the kernel's own generator has for a key (random(7)).
const ENTROPY: usize = 32;

/// What the host knows.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Wake {
    /// Since 1970, to the microsecond.
    pub now: Duration,
    /// Nobody else has it.
    pub entropy: [u8; ENTROPY],
}

impl Wake {
    /// At this moment.
    ///
    /// # Errors
    /// When there is no /dev/urandom.
    pub fn up() -> io::Result<Self> {
        let mut entropy = [0; ENTROPY];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut entropy)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            now: now.unwrap_or_default(),
            entropy,
        })
    }
}

impl fmt::Debug for Wake {
    /// The entropy is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.now.as_micros())?;
        self.entropy
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Wake {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let read = || {
            let (micros, digits) = text.split_once(' ')?;
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if digits.len() != 2 * ENTROPY || !plain(digits) || !plain(micros) {
                return None;
            }
            let mut entropy = [0; ENTROPY];
            for (index, byte) in entropy.iter_mut().enumerate() {
                *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
            }
            let now = Duration::from_micros(micros.parse().ok()?);
            Some(Self { now, entropy })
        };
        read().ok_or(TargetError::Wake)
    }
}

/// Wakes the guest whose `vial-link` serves `socket` (`--dial`).
///
/// # Errors
/// As for [`dial`].
pub async fn wake(socket: &Path) -> Result<(), OpenError> {
    let wake = Wake::up().map_err(OpenError::Lost)?;
    dial(socket, &Target::Wake(wake)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let wake = Wake::up().unwrap();
        let heard: Wake = wake.to_string().parse().unwrap();
        assert_eq!(heard.now.as_micros(), wake.now.as_micros());
        assert_eq!(heard.entropy, wake.entropy);
        assert!(!format!("{wake:?}").contains("entropy"), "it is a secret");
    }

    #[test]
    fn half_of_it_is_refused() {
        let whole = Wake::up().unwrap().to_string();
        let (micros, entropy) = whole.split_once(' ').unwrap();
        for text in [
            "",
            micros,
            entropy,
            &whole[..whole.len() - 1],
            &format!("-{whole}"),
        ] {
            assert_eq!(text.parse::<Wake>(), Err(TargetError::Wake), "{text}");
        }
    }
}
