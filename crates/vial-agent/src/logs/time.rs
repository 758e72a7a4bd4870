//! When a line of a log was written.
//!
//! | written by | a line begins with, or has |
//! |---|---|
//! | Kubernetes (klog) | `I1121 19:18:37.060812`: no year, time of the machine's zone |
//! | vial, Rust's tracing | `2026-11-21T19:18:32.062232Z` |
//! | containerd, distribution (logrus) | `time="2026-11-21T19:18:32.625719157Z"` |
//! | etcd (zap), other JSON | `"ts":"2026-11-21T19:18:32.567337Z"`, `"time":"…"` |
//! | Go's package log | `2026/11/21 19:18:32` |
//!
//! A line without a time (sshd's, a stack trace) was written with the line above it, unless the log was seen to grow later
//! ([`marks`](super::marks)). A log's own order is kept: of two programs that write into it one may be a moment late.

use std::path::Path;
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::marks::Mark;

/// Microseconds since 1970-01-01T00:00:00Z.
pub(super) type Micros = i64;

const SECOND: Micros = 1_000_000;
/// A line without a time belongs to the one above it when it was written so soon after it.
const TOGETHER: Micros = 2 * SECOND;
/// A line that is so much earlier than the one above it is no latecomer: the clock was set.
const LATECOMER: Micros = 5 * SECOND;
/// Times stand at the beginning of a line.
const HEAD: usize = 256;

/// Tells the times of a log's lines, from any line on.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Of the line before.
    last: Option<Micros>,
    /// When the log was seen to grow, oldest first.
    marks: Vec<Mark>,
}

impl Clock {
    /// Starts behind `before`, the text above the first line, or what is read of it.
    pub(super) fn start(&mut self, before: &[u8], marks: Vec<Mark>, now: Micros) {
        let stamps = before.split(|byte| *byte == b'\n');
        self.last = stamps.rev().find_map(|line| stamp(line, now));
        self.marks = marks;
    }

    /// The times of whole lines that begin at `offset` of the log.
    pub(super) fn times(&mut self, offset: u64, lines: &[u8], now: Micros) -> Vec<Micros> {
        let mut end = offset;
        let lines = lines.split_inclusive(|byte| *byte == b'\n');
        lines
            .map(|line| {
                end += line.len() as u64;
                let time = self.time(line, end, now);
                self.last = Some(time);
                time
            })
            .collect()
    }

    fn time(&self, line: &[u8], end: u64, now: Micros) -> Micros {
        match (stamp(line, now), self.last) {
            (Some(own), Some(last)) if own < last && last - own < LATECOMER => last,
            (Some(own), _) => own,
            (None, last) => {
                let seen = self.marks.partition_point(|mark| mark.length < end);
                let seen = self.marks.get(seen).map_or(now, |mark| mark.time);
                match last {
                    Some(last) if seen - last < TOGETHER => last,
                    _ => seen,
                }
            }
        }
    }
}

/// The present.
pub(super) fn now() -> Micros {
    Timestamp::now().as_microsecond()
}

/// The time that a line itself says; `now` tells the year where it says none.
pub(super) fn stamp(line: &[u8], now: Micros) -> Option<Micros> {
    let head = &line[..line.len().min(HEAD)];
    match head.first()? {
        b'I' | b'W' | b'E' | b'F' | b'D' => klog(head, now).or_else(|| named(head)),
        b'0'..=b'9' => leading(head),
        _ => named(head),
    }
}

/// `I1121 19:18:37.060812`; see klog's `formatHeader`.
fn klog(line: &[u8], now: Micros) -> Option<Micros> {
    let line = line.get(1..21)?;
    if line[4] != b' ' {
        return None;
    }
    let now = Timestamp::from_microsecond(now).ok()?;
    let time = time(&line[5..])?;
    let of_year = |year: i16| {
        let date = Date::new(year, number(&line[..2])?, number(&line[2..4])?).ok()?;
        let zoned = date.to_datetime(time).to_zoned(zone().clone()).ok()?;
        Some(zoned.timestamp())
    };
    let year = now.to_zoned(zone().clone()).year();
    // What would be in the future was written last year.
    let day = jiff::SignedDuration::from_hours(24);
    let this = of_year(year).filter(|time| time.duration_since(now) < day);
    this.or_else(|| of_year(year - 1))
        .map(Timestamp::as_microsecond)
}

/// A time at the beginning: RFC 3339, or as Go's package log writes it.
fn leading(line: &[u8]) -> Option<Micros> {
    let end = line.iter().position(|byte| *byte == b' ');
    let first = &line[..end.unwrap_or(line.len())];
    if first.len() > 10 {
        return rfc3339(first);
    }
    let [date, rest] = [line.get(..10)?, line.get(11..19)?];
    let [b'/', b'/'] = [date[4], date[7]] else {
        return None;
    };
    let date = Date::new(
        number(&date[..4])?,
        number(&date[5..7])?,
        number(&date[8..])?,
    )
    .ok()?;
    let at = DateTime::from_parts(date, time(rest)?);
    let zoned = at.to_zoned(zone().clone()).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

/// `time="…"`, `"ts":"…"`, `"time":"…"`.
fn named(line: &[u8]) -> Option<Micros> {
    let text = line.trim_ascii_start();
    let keys: &[&[u8]] = match text.first()? {
        b'{' => &[b"\"ts\":\"", b"\"time\":\""],
        b't' => &[b"time=\"", b"time="],
        _ => return None,
    };
    keys.iter().find_map(|key| {
        let at = text.windows(key.len()).position(|window| window == *key)?;
        let rest = &text[at + key.len()..];
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b' '));
        rfc3339(&rest[..end?])
    })
}

fn rfc3339(text: &[u8]) -> Option<Micros> {
    let time: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(time.as_microsecond())
}

/// `19:18:37` or `19:18:37.060812`.
fn time(text: &[u8]) -> Option<Time> {
    let [hour, minute, second] = [0, 3, 6].map(|at| number::<i8>(text.get(at..at + 2)?));
    if text[2] != b':' || text[5] != b':' {
        return None;
    }
    let micros: i32 = match text.get(8..) {
        Some([b'.', digits @ ..]) if digits.len() >= 6 => number(&digits[..6])?,
        _ => 0,
    };
    Time::new(hour?, minute?, second?, micros * 1000).ok()
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The machine's zone, as the programs on it see it.
fn zone() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(|| match Path::new("/etc/localtime").exists() {
        true => TimeZone::system(),
        false => TimeZone::UTC,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn shown(line: &str) -> Option<String> {
        let time = stamp(line.as_bytes(), at("2026-11-21T20:00:00Z"))?;
        Some(Timestamp::from_microsecond(time).unwrap().to_string())
    }

    #[test]
    fn the_time_of_a_line_is_found_however_it_is_written() {
        for (line, expected) in [
            (
                "I1121 19:18:37.060812      32 server.go:545] \"Kubelet version\"",
                "2026-11-21T19:18:37.060812Z",
            ),
            (
                "E1231 23:59:59.000001 1 x.go:1] last year",
                "2025-12-31T23:59:59.000001Z",
            ),
            (
                "2026-11-21T19:18:32.062232Z  INFO vial_node::init::serve: serving",
                "2026-11-21T19:18:32.062232Z",
            ),
            (
                "time=\"2026-11-21T19:18:32.625719157Z\" level=info msg=\"time=now\"",
                "2026-11-21T19:18:32.625719Z",
            ),
            (
                "time=2026-11-21T20:18:32+01:00 level=INFO",
                "2026-11-21T19:18:32Z",
            ),
            (
                "{\"level\":\"warn\",\"ts\":\"2026-11-21T19:18:32.567337Z\",\"caller\":\"x\"}",
                "2026-11-21T19:18:32.567337Z",
            ),
            (
                "{\"time\":\"2026-11-21T19:18:32Z\"}",
                "2026-11-21T19:18:32Z",
            ),
            (
                "2026/11/21 19:18:32 http: TLS handshake error",
                "2026-11-21T19:18:32Z",
            ),
        ] {
            assert_eq!(shown(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn what_only_looks_like_a_time_is_none() {
        for line in [
            "",
            "Server listening on :: port 22.",
            "I1399 19:18:37.060812 no such day",
            "I1121-19:18:37.060812",
            "E",
            "Inform 11",
            "12 monkeys",
            "2026",
            "2026-11-21",
            "{\"ts\":1234.5}",
            "time is up",
            "goroutine 1 [running]:",
            "\u{fffd}\u{fffd}",
        ] {
            assert_eq!(shown(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_without_a_time_goes_with_the_one_above_it() {
        let now = at("2026-11-21T20:00:00Z");
        let mut clock = Clock::default();
        let text = b"2026-11-21T19:00:00Z panic\ngoroutine 1\n2026-11-21T19:00:01Z on\n";
        let [one, two] = ["2026-11-21T19:00:00Z", "2026-11-21T19:00:01Z"].map(at);
        // It has just been written: there is no mark, and the present is much later.
        let mark = |length, time: &str| Mark {
            length,
            time: at(time),
        };
        clock.start(b"", vec![mark(200, "2026-11-21T19:00:01.5Z")], now);
        assert_eq!(clock.times(0, text, now), [one, one, two]);
    }

    #[test]
    fn a_log_without_times_has_those_when_it_was_seen_to_grow() {
        let now = at("2026-11-21T20:00:00Z");
        let mut clock = Clock::default();
        let marks = vec![
            Mark {
                length: 4,
                time: 10 * SECOND,
            },
            Mark {
                length: 12,
                time: 60 * SECOND,
            },
        ];
        clock.start(b"", marks, now);
        let times = clock.times(0, b"one\ntwo\nsix\nnew\n", now);
        assert_eq!(times, [10 * SECOND, 60 * SECOND, 60 * SECOND, now]);
    }

    #[test]
    fn the_order_of_a_log_is_kept_unless_the_clock_was_set() {
        let now = at("2026-11-21T20:00:00Z");
        let mut clock = Clock::default();
        clock.start(b"2026-11-21T19:00:02Z above\nrest of it\n", Vec::new(), now);
        let text = b"2026-11-21T19:00:01Z late\n2026-11-21T18:00:00Z set\n";
        let times = clock.times(40, text, now);
        assert_eq!(
            times,
            [at("2026-11-21T19:00:02Z"), at("2026-11-21T18:00:00Z")]
        );
    }
}
