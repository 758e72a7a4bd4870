//! Telling people at terminals that their pod is removed soon.
//!
//! ```text
//!  login ──less than an hour left──► told ──► 10 minutes left ──► told ──► 1 minute left ──► told
//! ```
//! The clock is looked at often rather than slept for: it may be set, and a frozen machine's goes on elsewhere.

use std::time::{Duration, SystemTime};

use crate::calendar::Instant;

const MINUTE: Duration = Duration::from_secs(60);
/// Who logs in with less than this left is told at once.
const SOON: Duration = Duration::from_secs(60 * 60);
/// When everybody is told.
const MARKS: [Duration; 2] = [Duration::from_secs(10 * 60), MINUTE];
/// How often the clock is looked at, at least.
const LOOK: Duration = Duration::from_secs(15);

/// The warnings of one session.
#[derive(Debug)]
pub(crate) struct Warnings {
    expires: Instant,
    /// What was left when the person was told, or could have been.
    told: Option<Duration>,
}

impl Warnings {
    /// For a session that begins now.
    pub(crate) fn new(expires: Instant) -> Self {
        Self {
            expires,
            told: None,
        }
    }

    /// The next line, when it is time for it; `None` when there is no more to be said.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            let left = self.expires.left(SystemTime::now());
            if self.due(left) {
                return Some(line(self.expires, left));
            }
            let wait = until_next(left)?;
            tokio::time::sleep(wait.min(LOOK)).await;
        }
    }

    /// Whether the person is to be told with so much left.
    fn due(&mut self, left: Duration) -> bool {
        match self.told.replace(left) {
            None => left < SOON,
            Some(before) => MARKS.iter().any(|mark| left <= *mark && *mark < before),
        }
    }
}

/// Time until somebody has to be told; `None` when that was the last time.
fn until_next(left: Duration) -> Option<Duration> {
    let mark = MARKS.iter().find(|mark| **mark < left)?;
    Some(left - *mark)
}

/// As the person reads it, in a terminal whose cursor may be anywhere.
fn line(expires: Instant, left: Duration) -> String {
    let minutes = left.as_secs().div_ceil(60);
    let when = match minutes {
        0 => "now".to_owned(),
        1 => "in a minute".to_owned(),
        _ => format!("in {minutes} minutes"),
    };
    format!("\r\nvial: this pod is removed {when}, at {expires}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    fn warnings() -> Warnings {
        Warnings::new("2026-11-21T23:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_long_session_is_told_twice() {
        let mut warnings = warnings();
        let told: Vec<u64> = (0..=90)
            .rev()
            .filter(|left| warnings.due(minutes(*left)))
            .collect();
        assert_eq!(told, [10, 1]);
    }

    #[test]
    fn who_comes_late_is_told_at_once_and_not_twice_for_it() {
        for (from, expected) in [
            (59, &[59, 10, 1][..]),
            (10, &[10, 1]),
            (4, &[4, 1]),
            (1, &[1]),
            (0, &[0]),
        ] {
            let mut warnings = warnings();
            let told: Vec<u64> = (0..=from)
                .rev()
                .filter(|left| warnings.due(minutes(*left)))
                .collect();
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_clock_that_jumps_is_followed() {
        let mut warnings = warnings();
        assert!(!warnings.due(minutes(300)));
        assert!(warnings.due(minutes(3)));
        assert!(!warnings.due(minutes(300)));
        assert!(warnings.due(minutes(10)));
    }

    #[test]
    fn nothing_is_waited_for_after_the_last_warning() {
        assert_eq!(until_next(minutes(11)), Some(minutes(1)));
        assert_eq!(until_next(minutes(10)), Some(minutes(9)));
        assert_eq!(until_next(minutes(1)), None);
    }

    #[test]
    fn the_line_says_when() {
        let line = |seconds| {
            line(
                "2026-11-21T23:00:00Z".parse().unwrap(),
                Duration::from_secs(seconds),
            )
        };
        assert_eq!(
            line(599),
            "\r\nvial: this pod is removed in 10 minutes, at 2026-11-21 23:00 UTC\r\n"
        );
        assert!(line(60).contains("in a minute,"));
        assert!(line(0).contains("now,"));
    }
}
