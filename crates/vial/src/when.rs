//! Points in time and spans, as people write and read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The present.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// How long ago an RFC 3339 time was: `12s`, `5m`, `3h`, `9d`. Empty when it is no time.
pub(crate) fn age(rfc3339: &str, now: Timestamp) -> String {
    let Ok(then) = rfc3339.parse::<Timestamp>() else {
        return String::new();
    };
    one_unit(now.duration_since(then).as_secs())
}

/// How long it is until then: `12s`, `5m`, `3h`, `9d`.
pub(crate) fn left(then: Timestamp, now: Timestamp) -> String {
    one_unit(then.duration_since(now).as_secs())
}

fn one_unit(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A span: `90s`, `10m`, `1h30m`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text
        .parse()
        .map_err(|_| "write it with a unit: 90s, 10m, 1h30m".to_owned())?;
    Duration::try_from(span)
        .ok()
        .filter(|span| !span.is_zero())
        .ok_or_else(|| "it must be longer than nothing".to_owned())
}

/// A point in time: an RFC 3339 time, or a span that ends now.
pub(crate) fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let span = parse_span(text)?;
    now()
        .checked_sub(span)
        .map_err(|_| "so long ago there was nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (then, expected) in [
            ("2026-11-21T11:59:58Z", "2s"),
            ("2026-11-21T11:57:00Z", "3m"),
            ("2026-11-21T09:30:00Z", "2h"),
            ("2026-11-11T12:00:00Z", "10d"),
            ("2026-11-21T12:00:05Z", "0s"),
            ("yesterday", ""),
        ] {
            assert_eq!(age(then, now), expected, "{then}");
        }
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "90", "-5s", "0s", "soon"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn since_is_a_span_or_a_time() {
        assert!(since("10m").is_ok_and(|time| time < now()));
        assert!(since("2026-11-21T12:00:00Z").is_ok());
        for bad in ["", "10", "yesterday", "-5m"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
