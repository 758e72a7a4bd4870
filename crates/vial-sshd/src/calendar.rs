//! Days to dates, and times as people write them; pure.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A second, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant {
    /// Seconds since 1970.
    seconds: i64,
}

impl Instant {
    /// What is left until then.
    pub(crate) fn left(self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let then = Duration::from_secs(u64::try_from(self.seconds).unwrap_or(0));
        then.saturating_sub(now)
    }
}

impl FromStr for Instant {
    type Err = ();

    /// RFC 3339, 5.6. Fractions of a second are dropped, and its second 60 is the next minute's first.
    fn from_str(text: &str) -> Result<Self, ()> {
        parse(text).map(|seconds| Self { seconds }).ok_or(())
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds.div_euclid(86_400));
        let minutes = self.seconds.rem_euclid(86_400) / 60;
        let (hour, minute) = (minutes / 60, minutes % 60);
        write!(
            formatter,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"
        )
    }
}

fn parse(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (between, rest) = rest.split_at_checked(1)?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let [year, month, day] = numbers(date, "-", [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ":", [2, 2, 2])?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !in_range || !["T", "t", " "].contains(&between) {
        return None;
    }
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (offset.len() < fraction.len()).then_some(offset)?
        }
        None => rest,
    };
    let days = days_until(year, month, day);
    Some(((days * 24 + hour) * 60 + minute) * 60 + second - self::offset(offset)?)
}

/// Seconds east of UTC.
fn offset(text: &str) -> Option<i64> {
    if text == "Z" || text == "z" {
        return Some(0);
    }
    let (sign, clock) = text.split_at_checked(1)?;
    let [hour, minute] = numbers(clock, ":", [2, 2])?;
    let seconds = (hour * 60 + minute) * 60;
    match sign {
        _ if hour > 23 || minute > 59 => None,
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

/// Numbers of so many digits each.
fn numbers<const N: usize>(text: &str, between: &str, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        let good = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| good)?;
    }
    parts.next().is_none().then_some(found)
}

fn days_of(year: i64, month: i64) -> i64 {
    let (year_of_next, next) = (year + month / 12, month % 12 + 1);
    days_until(year_of_next, next, 1) - days_until(year, month, 1)
}

/// Days from 1970-01-01 to a date; the other direction of [`date`].
fn days_until(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day, in UTC, of a number of days since 1970-01-01.
///
/// After Howard Hinnant's "chrono-compatible low-level date algorithms": years begin in March, so the leap day is last.
pub(crate) fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Seconds since 1970, as a library reads them.
    fn expected(text: &str) -> Option<i64> {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        Some(timestamp.as_nanosecond().div_euclid(1_000_000_000) as i64)
    }

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        for text in [
            "1985-04-12T23:20:50.52Z",
            "1996-12-19T16:39:57-08:00",
            "2026-11-21t23:00:00z",
            "2028-02-29 00:00:00+05:45",
        ] {
            let time: Instant = text.parse().unwrap();
            assert_eq!(Some(time.seconds), expected(text), "{text}");
        }
        let leap: Instant = "1990-12-31T23:59:60Z".parse().unwrap();
        assert_eq!(leap.to_string(), "1991-01-01 00:00 UTC");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "soon",
            "2026-11-21",
            "2026-11-21T23:00:00",
            "2026-11-21T23:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T23:00:00.Z",
            "2026-11-21T23:00:00+1:00",
            "2026-11-21T23:00:00+24:00",
            "+026-11-21T23:00:00Z",
            "2026-11-21T23:00:00Zé",
            "é026-11-21T23:00:00Z",
        ] {
            assert_eq!(text.parse::<Instant>(), Err(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_date_is_read_back(
            year in 1..9999i64, month in 0..14i64, day in 0..33i64, hour in 0..24, east in -23..24i64
        ) {
            let sign = if east < 0 { '-' } else { '+' };
            let text = format!(
                "{year:04}-{month:02}-{day:02}T{hour:02}:30:59.7{sign}{:02}:00", east.abs()
            );
            let read = text.parse::<Instant>().ok().map(|time| time.seconds);
            prop_assert_eq!(read, expected(&text), "{}", text);
        }

        #[test]
        fn days_count_both_ways(days in -800_000..4_000_000i64) {
            let (year, month, day) = date(days);
            prop_assert_eq!(days_until(year, month, day), days);
        }
    }

    #[test]
    fn leap_years_and_days_before_1970() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(-1), (1969, 12, 31));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(20_778), (2026, 11, 21));
    }
}
